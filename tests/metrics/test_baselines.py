"""The baselines know nothing of the image, and look as described."""

import pytest
import torch

from wbcore.errors import InputError
from wbcore.metrics.attention import keep_entries, keep_mass
from wbcore.metrics.baselines import centred_blob, random_heads


def test_random_heads_are_attention_rows_fixed_by_the_generator():
    attn = random_heads(7, 1009, generator=torch.Generator().manual_seed(0))
    assert attn.shape == (7, 1009)
    torch.testing.assert_close(attn.sum(-1), torch.ones(7))
    assert torch.equal(attn, random_heads(7, 1009, generator=torch.Generator().manual_seed(0)))
    scores = attn.log() - attn.log().mean(-1, keepdim=True)
    assert scores.std() == pytest.approx(1, abs=0.05)
    assert abs(torch.corrcoef(scores)[0, 1]) < 0.1


@pytest.mark.parametrize("grid", [(11, 11), (11, 17), (8, 8)])
def test_the_blob_is_centred_and_symmetric(grid):
    blob = centred_blob(grid).view(grid)
    torch.testing.assert_close(blob.sum(), torch.tensor(1.0))
    torch.testing.assert_close(blob, blob.flip(0))
    torch.testing.assert_close(blob, blob.flip(1))
    assert blob[grid[0] // 2, grid[1] // 2] == blob.max()


@pytest.mark.parametrize("grid", [(101, 101), (61, 127)])
def test_its_top_entries_are_an_ellipse_of_the_share(grid):
    blob = centred_blob(grid)
    kept = keep_entries(blob, 0.3).view(grid)
    rows, cols = torch.meshgrid(*((torch.arange(size) + 0.5) / size - 0.5 for size in grid), indexing="ij")
    ellipse = rows**2 + cols**2 <= 0.3 / torch.pi
    assert (kept ^ ellipse).float().mean() < 0.005
    assert keep_mass(blob, 0.6).float().mean() == pytest.approx(1 / 3, abs=0.03)


def test_a_spread_that_is_not_positive_is_named():
    with pytest.raises(InputError, match="spread is 0"):
        centred_blob((3, 5), spread=0.0)
