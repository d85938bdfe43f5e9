"""A layer's stages are the model's own taps, and its numbers those of the objective."""

import numpy as np
import pytest
import torch

from tests.tiny import CONFIG, model
from wbcore.errors import InputError
from wbcore.losses import lasso
from wbcore.measuring.stages import by_use, layer_stages
from wbcore.metrics.coding_rate import subspace_coding_rate
from wbcore.models import Backbone


@pytest.fixture
def image():
    return torch.randint(256, (3, 24, 40), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)


def test_stages_are_the_taps(image):
    network = model()
    found = layer_stages(network, image)
    assert [one.layer for one in found] == [1, 2]
    with torch.no_grad():
        shown = network.normalise(image[None])
        before = network.embed(shown)
        for index, one in enumerate(found):
            between = network.tap(shown, "tokens_after_attention", index)
            after = network.tap(shown, "tokens", index)
            for mine, theirs in zip((one.before, one.between, one.after), (before, between, after), strict=True):
                assert mine.shape == (16, 12)  # a class token and 3 × 5 patches
                np.testing.assert_array_equal(mine, theirs[0].numpy())
            rows = network.tap(shown, "cls_attention", index)[0, :, 1:]
            assert one.attention.shape == (3, 3, 5)
            np.testing.assert_array_equal(one.attention, rows.unflatten(-1, (3, 5)).numpy())
            np.testing.assert_array_equal(one.dictionary, network.blocks[index].feedforward.dictionary.numpy())
            assert one.width == 4
            before = after


def test_numbers_are_those_of_the_arrays(image):
    network = model()
    for block, one in zip(network.blocks, layer_stages(network, image), strict=True):
        with torch.no_grad():
            before, between, after = (torch.from_numpy(part)[None] for part in (one.before, one.between, one.after))
            rates = [subspace_coding_rate(block.attention.projections(block.norm(part))) for part in (before, between)]
            target = block.feedforward.norm(between)
            dictionary, points = block.feedforward.dictionary, (target, after, target.relu())
            codes = [lasso(code, target, dictionary, sparsity=0.1) for code in points]
        assert one.rate == pytest.approx([float(rate) for rate in rates], rel=1e-4)
        assert (*one.lasso, one.lasso_feasible) == pytest.approx([float(code) for code in codes], rel=1e-4)
        shares = [np.count_nonzero(part) / part.size for part in (one.before, one.between, one.after)]
        assert one.nonzeros == pytest.approx(shares)
        assert 0 < shares[2] < shares[1]


def test_channels_by_use(image):
    network = model()
    one = layer_stages(network, image)[1]
    ordered = by_use(one)
    used = (ordered.after > 0).sum(axis=0)
    assert (np.diff(used) <= 0).all()
    assert used[0] > used[-1]
    for name in ("before", "between", "after"):
        columns = [sorted(map(tuple, getattr(part, name).T)) for part in (one, ordered)]
        assert columns[0] == columns[1]
    # One order everywhere: what the dictionary makes of the tokens is the same set of channels.
    made = [np.sort(part.after @ part.dictionary.T, axis=1) for part in (one, ordered)]
    np.testing.assert_allclose(made[0], made[1], rtol=1e-4, atol=1e-5)
    assert ordered.rate == one.rate


@pytest.mark.parametrize("options", [{"attention": "mhsa"}, {"feedforward": "mlp"}])
def test_other_models_have_no_such_stages(image, options):
    network = Backbone(type(CONFIG)(**{**vars(CONFIG), **options}))
    with pytest.raises(InputError, match="take a CRATE"):
        layer_stages(network, image)
