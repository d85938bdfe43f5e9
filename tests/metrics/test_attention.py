"""Attention to masks to mIoU: by hand, against the official rule, and against a loop over sets."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from wbcore.data.example import VOID
from wbcore.errors import InputError
from wbcore.metrics.attention import (
    NoObjectError,
    best_head_iou,
    dino_jaccard,
    head_iou,
    keep_entries,
    keep_mass,
    kept_by_entries,
    kept_by_mass,
    label_counts,
    label_iou,
    nested_iou,
    paper_miou,
    to_pixels,
    to_tokens,
)


def softmax_rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).mul(2).softmax(-1)


def official_keep_mass(attn, share):
    """DINO's rule as its visualisation script states it: from the smallest, above one minus the share."""
    kept = torch.zeros(attn.shape, dtype=torch.bool)
    for row, mask in zip(attn, kept, strict=True):
        order = row.argsort()
        mask[order[torch.cumsum(row[order] / row.sum(), 0) > 1 - share]] = True
    return kept


def loop_iou(mask, target, valid):
    mask, target = ({i for i in range(len(valid)) if part[i] and valid[i]} for part in (mask, target))
    return len(mask & target) / len(mask | target)


def test_keep_mass_by_hand():
    attn = torch.tensor([1.0, 4.0, 2.0, 3.0])
    assert keep_mass(attn, 0.4).tolist() == [False, True, False, False]
    assert keep_mass(attn, 0.5).tolist() == [False, True, False, True]
    assert keep_mass(attn, 0.75).tolist() == [False, True, True, True]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_keep_mass_is_dinos_rule(share):
    attn = softmax_rows(11, 197)
    assert torch.equal(keep_mass(attn, share), official_keep_mass(attn.double(), share))


@pytest.mark.parametrize("share", [0.05, 0.6, 0.95, 1.0])
def test_keep_mass_covers_the_share_with_the_fewest_entries(share):
    attn = softmax_rows(7, 5, 113).double()
    kept = keep_mass(attn, share)
    mass = (attn * kept).sum(-1)
    least = attn.masked_fill(~kept, torch.inf).amin(-1)
    assert (mass >= share - 1e-6).all()
    assert (mass - least < share).all()
    assert (attn.masked_fill(kept, -1).amax(-1) <= least).all()


def test_keep_mass_does_not_depend_on_the_scale_and_ignores_the_order_of_tokens():
    attn = softmax_rows(3, 101)
    order = torch.randperm(101, generator=torch.Generator().manual_seed(1))
    assert torch.equal(keep_mass(attn * 17, 0.6), keep_mass(attn, 0.6))
    assert torch.equal(keep_mass(attn[:, order], 0.6), keep_mass(attn, 0.6)[:, order])


def test_a_row_without_mass_keeps_nothing_and_zeros_are_never_kept():
    assert not keep_mass(torch.zeros(2, 5), 0.6).any()
    assert keep_mass(torch.tensor([0.0, 3.0, 0.0, 1.0]), 1.0).tolist() == [False, True, False, True]


@pytest.mark.parametrize("n", [1, 5, 7, 10, 100, 784])
@pytest.mark.parametrize("share", [0.07, 0.2, 0.6, 1.0])
def test_on_a_uniform_row_both_rules_keep_the_first_tokens(n, share):
    attn = torch.full((n,), 1 / n)
    count = -(-round(share * 100) * n // 100)
    assert keep_entries(attn, share).tolist() == [True] * count + [False] * (n - count)
    assert torch.equal(keep_mass(attn, share), keep_entries(attn, share))


def test_keep_entries_takes_the_largest_and_of_ties_the_first():
    assert keep_entries(torch.tensor([0.1, 0.3, 0.1, 0.4, 0.1]), 0.6).tolist() == [True, True, False, True, False]


def test_keep_entries_is_numpys_sort():
    attn = softmax_rows(3, 5, 89)
    count = math.ceil(0.6 * 89)
    expected = np.zeros(attn.shape, bool)
    np.put_along_axis(expected, np.argsort(-attn.numpy(), axis=-1)[..., :count], True, axis=-1)
    assert np.array_equal(keep_entries(attn, 0.6).numpy(), expected)


@pytest.mark.parametrize("rule", [keep_mass, keep_entries])
@pytest.mark.parametrize("share", [0.0, -0.1, 1.01, math.nan])
def test_a_share_outside_its_range_is_named(rule, share):
    with pytest.raises(InputError, match=f"share is {share}"):
        rule(torch.ones(3), share)


@pytest.mark.parametrize("rule", [keep_mass, keep_entries])
@pytest.mark.parametrize(("entry", "what"), [(math.nan, "NaN"), (math.inf, "infinite"), (-0.5, "negative")])
def test_attention_that_is_none_is_named(rule, entry, what):
    with pytest.raises(InputError, match=what):
        rule(torch.tensor([0.5, entry]), 0.6)


def test_to_pixels_repeats_tokens_at_a_multiple():
    masks = softmax_rows(3, 5, 7) > 0.1
    expected = masks.repeat_interleave(11, -2).repeat_interleave(13, -1)
    assert torch.equal(to_pixels(masks, (55, 91)), expected)


@pytest.mark.parametrize("size", [(5, 7), (17, 31), (23, 19), (3, 2)])
def test_to_pixels_is_nearest_interpolation_at_any_size(size):
    masks = softmax_rows(3, 5, 7, seed=2) > 0.1
    expected = torch.nn.functional.interpolate(masks[None].float(), size=size, mode="nearest-exact")[0].bool()
    assert torch.equal(to_pixels(masks, size), expected)


def test_to_tokens_by_hand():
    semantic = torch.tensor(
        [
            [1, 1, 2, 0, VOID, VOID],
            [1, 0, 2, 0, VOID, 3],
            [VOID, VOID, VOID, 4, 0, 0],
            [5, 5, VOID, 4, 6, 6],
        ],
        dtype=torch.uint8,
    )
    # Top: most, tie to the lower label, mostly void.  Bottom: half void does not silence the other half, nor a tie.
    assert to_tokens(semantic, (2, 3)).tolist() == [[1, 0, VOID], [5, 4, 0]]


@pytest.mark.parametrize("size", [(5, 7), (10, 21), (13, 17), (29, 11)])
def test_to_tokens_undoes_to_pixels(size):
    tokens = softmax_rows(5, 7, seed=3) > 0.1
    assert torch.equal(to_tokens(to_pixels(tokens, size).long(), (5, 7)).bool(), tokens)


def test_to_tokens_is_a_vote_cell_by_cell():
    semantic = torch.randint(0, 5, (22, 39), generator=torch.Generator().manual_seed(4))
    semantic[semantic == 4] = VOID
    tokens = to_tokens(semantic, (11, 13))
    for row in range(11):
        for col in range(13):
            cell = semantic[2 * row : 2 * row + 2, 3 * col : 3 * col + 3].flatten().tolist()
            votes = Counter(sorted(label for label in cell if label != VOID))
            expected = votes.most_common(1)[0][0] if votes.total() >= 3 else VOID
            assert tokens[row, col] == expected


def test_to_tokens_needs_a_pixel_for_each_token():
    with pytest.raises(InputError, match="3x9 pixels"):
        to_tokens(torch.zeros(3, 9, dtype=torch.int64), (5, 7))


# Three heads on a 3x3 image with one object in the upper left corner and an unknown centre.
HEADS = torch.tensor(
    [
        [[1, 1, 0], [1, 0, 0], [0, 0, 0]],
        [[1, 1, 1], [1, 1, 1], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 0], [1, 1, 1]],
    ]
).bool()
OBJECT = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 0]]).bool()
KNOWN = torch.tensor([[1, 1, 1], [1, 0, 1], [1, 1, 1]]).bool()


def test_iou_by_hand():
    iou = head_iou(HEADS.flatten(1), OBJECT.flatten()[None])
    assert iou.tolist() == [[3 / 4, 4 / 6, 0]]
    assert head_iou(HEADS.flatten(1), OBJECT.flatten()[None], valid=KNOWN.flatten()).tolist() == [[1, 3 / 5, 0]]


def test_iou_is_a_loop_over_sets():
    generator = torch.Generator().manual_seed(5)
    masks, targets, valid = (torch.rand(k, 53, generator=generator) < 0.4 for k in (3, 7, 1))
    iou = head_iou(masks, targets, valid=valid[0])
    expected = [[loop_iou(mask, target, valid[0]) for mask in masks] for target in targets]
    assert iou.tolist() == expected
    best = best_head_iou(masks, targets, valid=valid[0])
    assert best.iou.tolist() == [max(row) for row in expected]
    assert best.head.tolist() == [row.index(max(row)) for row in expected]


def test_of_equal_heads_the_first_is_best():
    masks = torch.tensor([[0, 0, 1], [1, 1, 0], [1, 1, 0]]).bool()
    assert best_head_iou(masks, masks[1:2]).head.tolist() == [1]


def test_a_target_without_a_known_position_is_no_object():
    targets = torch.stack([OBJECT.flatten(), ~KNOWN.flatten()])
    with pytest.raises(NoObjectError, match="target 1"):
        head_iou(HEADS.flatten(1), targets, valid=KNOWN.flatten())
    with pytest.raises(NoObjectError, match="no object"):
        head_iou(HEADS.flatten(1), targets[:0])


def test_background_and_void_by_hand():
    labels = OBJECT.long().masked_fill(~KNOWN, VOID)
    # Object: 3 known pixels; background: 5.  Heads cover 3, 6 (one of them void) and 3 pixels.
    assert label_iou(HEADS, labels).tolist() == [[1, 3 / 5, 0]]
    assert label_iou(HEADS, labels, void="negative").tolist() == [[1, 3 / 6, 0]]
    assert label_iou(HEADS, labels, background="include").tolist() == [[0, 2 / 8, 3 / 5], [1, 3 / 5, 0]]
    assert label_iou(HEADS, labels, background="include", void="negative")[0].tolist() == [0, 2 / 9, 3 / 5]


def test_the_papers_protocols_by_hand():
    # A 2x2 grid of 2x2 pixels: class 3 fills the left half, class 7 all but one pixel of the lower right token.
    semantic = torch.tensor([[3, 3, 0, 0], [3, 3, 0, 0], [3, 3, 7, 7], [3, 3, 7, 0]])
    masks = torch.tensor([[[1, 0], [0, 0]], [[0, 1], [0, 1]], [[1, 1], [1, 1]]]).bool()
    assert paper_miou(masks, semantic) == (1 / 2 + 1 / 2) / 2
    assert paper_miou(masks, semantic, head=2) == (2 / 4 + 1 / 4) / 2
    assert paper_miou(masks, semantic, background="include") == pytest.approx((1 / 2 + 1 / 2 + 1 / 2) / 3)
    assert dino_jaccard(masks, semantic) == (8 / 16 + 3 / 8) / 2
    assert dino_jaccard(masks, semantic, head=0) == (4 / 8 + 0) / 2
    assert dino_jaccard(masks, semantic, background="include") == pytest.approx((5 / 8 + 8 / 16 + 3 / 8) / 3)


def test_at_one_pixel_a_token_the_protocols_agree():
    masks = softmax_rows(3, 11, 13, seed=6) > 0.1
    labels = torch.randint(0, 4, (11, 13), generator=torch.Generator().manual_seed(7))
    labels[labels == 3] = VOID
    assert paper_miou(masks, labels) == dino_jaccard(masks, labels)
    assert paper_miou(masks, labels, head=1) == dino_jaccard(masks, labels, head=1)
    paper, dino = (f(masks, labels, background="include", void="negative") for f in (paper_miou, dino_jaccard))
    assert paper == dino != paper_miou(masks, labels)


def test_an_image_with_no_object_is_an_error_of_its_own():
    empty = torch.zeros(6, 8, dtype=torch.int64)
    small = empty.clone()
    small[0, 0] = 1  # a pixel, but no token
    masks = torch.ones(2, 3, 4, dtype=torch.bool)
    with pytest.raises(NoObjectError, match="leave this image out"):
        dino_jaccard(masks, empty)
    with pytest.raises(NoObjectError, match="leave this image out"):
        paper_miou(masks, small)
    assert dino_jaccard(masks, small) == 1 / 48
    assert paper_miou(masks, empty, background="include") == 1


def test_counts_of_labels_by_hand():
    semantic = torch.tensor([[1, 1, 0, VOID], [1, 0, 0, VOID], [3, 3, 3, 3]], dtype=torch.uint8)
    # Of three rows on a grid of one, all; of four columns on a grid of two, two each.
    labels, counts = label_counts(semantic, (1, 2))
    assert labels.tolist() == [0, 1, 3, VOID]
    assert counts.tolist() == [[1, 2], [3, 0], [2, 2], [0, 2]]


@pytest.mark.parametrize("at_pixels", [True, False])
def test_nested_masks_are_those_of_every_rule_and_share(at_pixels):
    grid, attn = (5, 7), softmax_rows(2, 3, 35, seed=11)
    attn[0, 0] = 1 / 35  # ties
    labels = torch.randint(0, 5, (23, 31), generator=torch.Generator().manual_seed(12))
    labels[labels == 4] = VOID
    labels[:9, :11] = 1  # so that several labels win tokens
    found, counts = label_counts(labels, grid)
    known = counts[found != VOID]
    targets, valid = counts[(found > 0) & (found != VOID)], known.sum(0)
    if not at_pixels:
        tokens = to_tokens(labels, grid).flatten()
        present = [label for label in (1, 2, 3) if (tokens == label).any()]
        targets, valid = torch.stack([tokens == label for label in present]), tokens != VOID
    nested = nested_iou(attn, targets, valid)
    assert not nested[..., 0].any()
    for keep in (keep_mass, keep_entries):
        for share in (0.05, 0.3, 0.6, 0.95, 1.0):
            masks = keep(attn, share)
            for layer in range(2):
                at_k = nested[layer].gather(-1, masks[layer].sum(-1)[:, None, None].expand(-1, len(targets), 1))
                shown = masks[layer].unflatten(-1, grid)
                if at_pixels:
                    assert at_k[..., 0].amax(0).mean().item() == pytest.approx(dino_jaccard(shown, labels), abs=1e-12)
                else:
                    assert at_k[..., 0].amax(0).mean().item() == pytest.approx(paper_miou(shown, labels), abs=1e-12)


def test_nested_masks_need_an_object():
    with pytest.raises(NoObjectError, match="leave this image out"):
        nested_iou(torch.ones(2, 3), torch.zeros(1, 3), torch.ones(3))
    with pytest.raises(InputError, match="NaN"):
        nested_iou(torch.full((2, 3), torch.nan), torch.ones(1, 3), torch.ones(3))


@pytest.mark.parametrize(("keep", "count"), [(keep_mass, kept_by_mass), (keep_entries, kept_by_entries)])
def test_counts_of_kept_entries_are_those_of_the_masks(keep, count):
    attn, shares = softmax_rows(2, 3, 101, seed=13), (0.05, 0.2, 0.6, 0.95, 1.0)
    attn[0, 0], attn[1, 1] = 1 / 101, 0
    counts = count(attn, shares)
    for place, share in enumerate(shares):
        assert torch.equal(counts[..., place], keep(attn, share).sum(-1))
    with pytest.raises(InputError, match=r"share is 1\.5"):
        count(attn, (0.5, 1.5))
