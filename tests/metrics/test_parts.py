"""A head that looks at one part of an object is named after it; one that looks everywhere is not."""

import numpy as np
import pytest
import torch

from wbcore.errors import InputError
from wbcore.metrics.parts import PARTS, named_heads, part_shares, part_tokens, preferences


@pytest.fixture
def block():
    """An object of 6 rows and 3 columns on a grid of 7 by 5, at its upper edge."""
    mask = torch.zeros(7, 5, dtype=torch.bool)
    mask[0:6, 1:4] = True
    return mask


def test_parts_of_a_block(block):
    upper, lower, left, right, outline = part_tokens(block)
    assert upper.nonzero()[:, 0].unique().tolist() == [0, 1]
    assert lower.nonzero()[:, 0].unique().tolist() == [4, 5]
    assert left.nonzero()[:, 1].unique().tolist() == [1]
    assert right.nonzero()[:, 1].unique().tolist() == [3]
    assert [int(part.sum()) for part in (upper, lower, left, right)] == [6, 6, 6, 6]
    assert (block & ~outline).nonzero().tolist() == [[row, 2] for row in range(1, 5)]


def test_turning_the_object_turns_its_thirds():
    mask = torch.rand(11, 13, generator=torch.Generator().manual_seed(0)) < 0.3
    upper, lower, left, right, outline = part_tokens(mask)
    turned = part_tokens(mask.T.flip(0, 1))
    for one, other in zip(turned, (right, left, lower, upper, outline), strict=True):
        assert torch.equal(one, other.T.flip(0, 1))


def test_shares_are_of_the_mass_on_the_object(block):
    even, corner = torch.full((7, 5), 1 / 35), torch.zeros(7, 5)
    corner[0, 1], corner[6, 4] = 0.2, 0.8  # the second is not on the object
    shares = part_shares(torch.stack([even, corner]).flatten(1), block)
    assert shares[0].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1 / 3, 14 / 18])
    assert shares[1].tolist() == pytest.approx([1, 0, 1, 0, 1])


def test_what_has_no_parts(block):
    with pytest.raises(InputError, match="2 tokens across"):
        part_tokens(block[:, :3])
    with pytest.raises(InputError, match="0 tokens across"):
        part_tokens(torch.zeros(5, 7, dtype=torch.bool))
    with pytest.raises(InputError, match="head 1 has no attention"):
        part_shares(torch.stack([torch.ones(35), torch.zeros(35)]), block)
    with pytest.raises(InputError, match="1 heads"):
        preferences(np.zeros((3, 1, 5)), [0, 1, 2])


def test_a_preference_is_against_the_other_heads_and_over_groups():
    shares = np.zeros((3, 3, 5))
    shares[:, 1, 0] = 0.1, 0.5, 0.6  # the first two images show the same
    shares[:, 2, 4] = 0.3, -0.3, 0.0
    found = preferences(shares, [7, 7, 11])
    assert [head[0].value for head in found] == pytest.approx([-0.225, 0.45, -0.225])
    assert (found[1][0].low, found[1][0].high, found[1][0].n) == pytest.approx((0.3, 0.6, 2))
    assert named_heads(found) == {PARTS[0]: 1}
