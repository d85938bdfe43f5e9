"""Outliers left out of attention maps, and the accounts of what attention is spent on, against cases by hand."""

import numpy as np
import pytest
import torch

from wbcore.data.example import VOID
from wbcore.errors import InputError
from wbcore.metrics.attention import keep_mass
from wbcore.metrics.outlier_attention import as_many, budget, is_object, leave_out, longest, object_auc, on_object
from wbcore.tokens import TokenLayout


def test_the_longest_are_counted_per_image():
    norms = torch.tensor([[3.0, 9.0, 1.0, 9.0, 2.0], [5.0, 4.0, 3.0, 2.0, 1.0]])
    assert longest(norms, 0.2).tolist() == [[False, True, False, False, False], [True, False, False, False, False]]
    assert longest(norms, 0.21).sum(-1).tolist() == [2, 2]
    assert longest(norms, 1.0).all()
    with pytest.raises(InputError, match="share is 0"):
        longest(norms, 0)


def test_as_many_are_drawn_elsewhere():
    generator = torch.Generator().manual_seed(3)
    where = torch.rand(31, 23, generator=generator) < 0.1
    among = torch.rand(31, 23, generator=generator) < 0.7
    drawn = as_many(where, among, generator=generator)
    assert torch.equal(drawn.sum(-1), where.sum(-1))
    assert not (drawn & where).any()
    assert not (drawn & ~among).any()
    again = as_many(where, among, generator=torch.Generator().manual_seed(4))
    assert not torch.equal(drawn, again)


def test_every_patch_can_be_drawn_equally_often():
    where = torch.zeros(4000, 5, dtype=torch.bool)
    where[:, 0] = True
    drawn = as_many(where, torch.ones_like(where), generator=torch.Generator().manual_seed(0))
    assert drawn.float().mean(0)[1:].sub(0.25).abs().max() < 0.03


def test_too_few_to_draw_from():
    where = torch.tensor([[True, False, False], [True, True, False]])
    with pytest.raises(InputError, match="image 1: 2 patches are to be drawn from 1"):
        as_many(where, torch.ones_like(where), generator=torch.Generator())


def test_what_is_left_out_leaves_the_rest_in_proportion():
    attn = torch.rand(3, 2, 13, generator=torch.Generator().manual_seed(1)) / 10
    where = torch.zeros(3, 13, dtype=torch.bool)
    where[0, 4], where[1, :12] = True, True
    found = leave_out(attn, where)
    torch.testing.assert_close(found.sum(-1), attn.sum(-1))
    assert not found[0, :, 4].any()
    torch.testing.assert_close(found[0, 0, 3] / found[0, 0, 7], attn[0, 0, 3] / attn[0, 0, 7])
    assert torch.equal(found[2], attn[2])
    # The second route: the mask of the map without the patches, cut out beforehand.
    cut = keep_mass(torch.cat([attn[0, :, :4], attn[0, :, 5:]], dim=-1), 0.6)
    masks = keep_mass(found[0], 0.6)
    assert torch.equal(torch.cat([masks[:, :4], masks[:, 5:]], dim=-1), cut)


def test_a_row_that_is_left_out_whole_is_zero():
    attn = torch.tensor([[[0.7, 0.0], [0.5, 0.2]]])
    assert leave_out(attn, torch.tensor([[True, False]])).tolist() == [[[0, 0], [0, pytest.approx(0.7)]]]


def test_a_budget_by_hand():
    #                      cls  register   patches: outlier on the object, object, background, void
    attn = torch.tensor([[[0.10, 0.05, 0.05, 0.40, 0.20, 0.15, 0.05], [0.30, 0.00, 0.10, 0.20, 0.30, 0.05, 0.05]]])
    layout = TokenLayout(3, (2, 2))
    outlier = torch.tensor([[True, False, False, False]])
    labels = torch.tensor([[2, 2, 0, VOID]])
    found = budget(attn, layout, outlier=outlier, labels=labels)
    expected = {"class_token": 0.2, "registers": 0.1, "outliers": 0.3, "object": 0.25, "background": 0.15}
    assert {name: round(float(value), 5) for name, value in found._asdict().items()} == expected
    assert float(on_object(found)) == pytest.approx(0.25 / 0.4)
    assert is_object(labels).tolist() == [[True, True, False, False]]


def test_a_budget_is_spent_and_leaving_out_does_not_change_where_the_rest_is():
    generator = torch.Generator().manual_seed(2)
    layout = TokenLayout(2, (5, 7))
    attn = torch.randn(11, 3, 37, generator=generator).softmax(-1)
    outlier = torch.rand(11, 35, generator=generator) < 0.1
    labels = torch.randint(0, 3, (11, 35), generator=generator)
    found = budget(attn, layout, outlier=outlier, labels=labels)
    torch.testing.assert_close(sum(found), torch.ones(11))
    mean = attn.mean(1, keepdim=True)
    rest = leave_out(layout.patches(mean, dim=-1), outlier)[:, 0]
    torch.testing.assert_close(on_object(found), (rest * is_object(labels)).sum(-1) / rest.sum(-1))


def test_the_area_is_the_share_of_pairs_in_the_right_order():
    generator = torch.Generator().manual_seed(5)
    attn = torch.randint(0, 9, (7, 31), generator=generator).float()  # with ties
    labels = torch.randint(0, 3, (7, 31), generator=generator)
    labels[:, :4] = VOID
    without = torch.rand(7, 31, generator=generator) < 0.1
    for image, area in enumerate(object_auc(attn, labels, without=without)):
        valid = (labels[image] != VOID) & ~without[image]
        objects, others = attn[image][valid & (labels[image] > 0)], attn[image][valid & (labels[image] == 0)]
        pairs = (objects[:, None] > others).double() + 0.5 * (objects[:, None] == others).double()
        assert area == pytest.approx(float(pairs.mean()))


def test_an_area_does_not_know_how_wide_attention_is():
    attn, labels = torch.tensor([[0.5, 0.3, 0.1, 0.05, 0.05]]), torch.tensor([[1, 1, 0, 0, VOID]])
    assert object_auc(attn, labels) == object_auc(attn**20, labels) == 1
    assert np.isnan(object_auc(attn, torch.tensor([[0, 0, 0, 0, VOID]]))).all()  # no object
