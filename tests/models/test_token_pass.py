"""Token-pass: decisions by hand, order and places by property, merging by both rules."""

import pytest
import torch

from wbcore.errors import InputError
from wbcore.models.token_pass import confidence, keep_lowest, keep_mask, merge, split

BATCH, PATCHES, DIM, CLASSES, PREFIX = 3, 17, 5, 7, 2


@pytest.fixture(params=range(5))
def generator(request):
    return torch.Generator().manual_seed(request.param)


def random_mask(generator, share=0.5):
    return torch.rand(BATCH, PATCHES, generator=generator) < share


def test_confidence_is_the_largest_probability(generator):
    logits = torch.randn(BATCH, PATCHES, CLASSES, generator=generator)
    by_hand = (logits.exp() / logits.exp().sum(-1, keepdim=True)).max(-1).values
    torch.testing.assert_close(confidence(logits), by_hand)
    assert confidence(1000 * logits).max() <= 1  # so that ξ = 1 stops nothing


def test_a_patch_stops_when_the_probe_is_surer_than_the_threshold():
    sure = torch.tensor([[0.2, 0.9, 0.8, 0.95]])
    previous = torch.tensor([[True, True, True, False]])
    assert keep_mask(sure, previous, threshold=0.8).tolist() == [[True, False, True, False]]


def test_masks_are_the_product_of_all_before(generator):
    keep, product = torch.ones(BATCH, PATCHES, dtype=torch.bool), torch.ones(BATCH, PATCHES)
    for _ in range(3):
        sure = torch.rand(BATCH, PATCHES, generator=generator)
        keep = keep_mask(sure, keep, threshold=0.7)
        product = product * (sure <= 0.7)  # Eq. (5)
        assert torch.equal(keep.float(), product)


@pytest.mark.parametrize(("threshold", "kept"), [(0.0, 0), (1.0, BATCH * PATCHES)])
def test_the_ends_of_the_threshold(generator, threshold, kept):
    sure = confidence(torch.randn(BATCH, PATCHES, CLASSES, generator=generator))
    everything = torch.ones(BATCH, PATCHES, dtype=torch.bool)
    assert int(keep_mask(sure, everything, threshold=threshold).sum()) == kept


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_a_threshold_is_a_probability(threshold):
    with pytest.raises(InputError, match="between 0 and 1"):
        keep_mask(torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool), threshold=threshold)


def test_same_count_keeps_the_mean_and_the_least_sure():
    sure = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5, 0.9], [0.95, 0.9, 0.8, 0.99, 0.1, 0.97]])
    previous = torch.ones(2, 6, dtype=torch.bool)
    free = keep_mask(sure, previous, threshold=0.6)
    same = keep_mask(sure, previous, threshold=0.6, same_count=True)
    assert free.sum(1).tolist() == [5, 1]
    assert same.tolist() == [[True, True, True, False, False, False], [False, True, True, False, True, False]]


def test_same_count_brings_nothing_back(generator):
    previous = random_mask(generator)
    sure = torch.rand(BATCH, PATCHES, generator=generator)
    assert not (keep_mask(sure, previous, threshold=0.9, same_count=True) & ~previous).any()


def test_keep_lowest_prefers_the_first_of_equals():
    assert keep_lowest(torch.tensor([[3.0, 1.0, 1.0, 1.0]]), 2).tolist() == [[False, True, True, False]]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_what_is_gathered_is_put_back(generator, share):
    tokens = torch.randn(BATCH, PREFIX + PATCHES, DIM, generator=generator)
    going_on = split(random_mask(generator, share), num_prefix=PREFIX)
    assert torch.equal(going_on.scatter(going_on.gather(tokens), tokens), tokens)
    assert sum(going_on.lengths) == len(going_on.kept)
    assert going_on.is_whole == (share == 1.0)


def test_order_is_kept_and_nothing_else_is_touched(generator):
    keep = random_mask(generator)
    numbers = torch.arange(BATCH * (PREFIX + PATCHES)).view(BATCH, -1, 1).float()
    going_on = split(keep, num_prefix=PREFIX)
    packed = going_on.gather(numbers)
    by_hand = [row[[True] * PREFIX + mask.tolist()].flatten().tolist() for row, mask in zip(numbers, keep, strict=True)]
    assert [part.flatten().tolist() for part in packed[0].split(going_on.lengths)] == by_hand
    restored = going_on.scatter(-packed - 1, numbers)
    expected = torch.where(
        torch.cat([torch.ones(BATCH, PREFIX, dtype=torch.bool), keep], 1)[..., None], -numbers - 1, numbers
    )
    assert torch.equal(restored, expected)


@pytest.mark.parametrize(("rule", "factor"), [("printed", 1.0), ("code", 0.5)])
def test_merging_by_hand(generator, rule, factor):
    class_token = torch.randn(BATCH, DIM, generator=generator)
    patches = torch.randn(BATCH, PATCHES, DIM, generator=generator)
    keep = random_mask(generator)
    merged = merge(class_token, patches, keep, rule=rule)
    for image in range(BATCH):
        mean = patches[image][~keep[image]].mean(dim=0)
        torch.testing.assert_close(merged[image], class_token[image] / 2 + factor * mean)


def test_merging_leaves_an_image_alone_in_which_nothing_stopped(generator):
    class_token = torch.randn(BATCH, DIM, generator=generator)
    patches = torch.randn(BATCH, PATCHES, DIM, generator=generator)
    keep = torch.ones(BATCH, PATCHES, dtype=torch.bool)
    for rule in ("printed", "code", "none"):
        assert torch.equal(merge(class_token, patches, keep, rule=rule), class_token)


def test_the_code_merges_from_a_tenth_on():
    class_token, patches = torch.ones(1, DIM), torch.zeros(1, 20, DIM)
    keep = torch.ones(1, 20, dtype=torch.bool)
    keep[:, :2] = False
    assert torch.equal(merge(class_token, patches, keep, rule="code"), class_token)
    keep[:, 2] = False
    assert torch.equal(merge(class_token, patches, keep, rule="code"), class_token / 2)
