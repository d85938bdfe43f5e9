"""Segmentation models: exact per image, equal to the dense model where nothing stops, any size, every policy."""

import dataclasses

import jaxtyping
import pytest
import torch

from wbcore.errors import InputError
from wbcore.models.backbone import Backbone, BackboneConfig
from wbcore.models.dovit import DoViT, Policy, SegmenterConfig, slide

CLASSES = 5
KINDS = {
    "vit": {"attention": "mhsa", "feedforward": "mlp"},
    "crate": {"attention": "mssa", "feedforward": "ista"},
    "crate with registers": {"attention": "mssa", "feedforward": "ista", "num_registers": 3},
}


def model(kind="vit", *, decoder="setr", policy=None, seed=0):
    torch.manual_seed(seed)
    backbone = BackboneConfig(image_size=24, patch_size=4, dim=12, depth=4, heads=3, num_classes=7, **KINDS[kind])
    config = SegmenterConfig(backbone, CLASSES, decoder=decoder, decisions=(1, 2, 3), policy=policy or Policy())
    network = DoViT(config).double().eval()
    for probe in network.probes:  # opinions that differ from patch to patch
        torch.nn.init.normal_(probe.classify.weight, std=1.0)
    return network


def images(count=3, size=(24, 24)):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def run(network, batch, **policy):
    network.policy = Policy(**policy)
    with torch.inference_mode():
        return network(batch)


@pytest.fixture(params=KINDS)
def network(request):
    return model(request.param)


def test_nothing_stops_bit_for_bit(network):
    dense = run(network, images(), kind="dense")
    for policy in ({"kind": "confidence", "threshold": 1.0}, {"kind": "merge", "merged": 0}):
        other = run(network, images(), **policy)
        assert torch.equal(other.logits, dense.logits) or policy["kind"] == "merge"
        torch.testing.assert_close(other.logits, dense.logits)
    tokens = network.config.backbone.num_prefix + 36
    assert dense.tokens == ((tokens,) * 3,) * 4


def test_the_dense_model_is_backbone_norm_and_decoder(network):
    batch = images(1)
    backbone: Backbone = network.backbone
    with torch.inference_mode():
        patches = backbone.layout(batch).patches(backbone.norm(backbone.tokens(batch)))
        expected = network.decoder(patches, (6, 6))
    torch.testing.assert_close(run(network, batch, kind="dense").coarse, expected)


@pytest.mark.parametrize("merging", ["none", "printed", "code"])
def test_an_image_does_not_know_its_batch(network, merging):
    policy = {"kind": "confidence", "threshold": 0.6, "merging": merging}
    together = run(network, images(), **policy)
    lengths = together.tokens[-1]
    assert len(set(lengths)) > 1, "choose a threshold at which images differ"
    for index, image in enumerate(images()):
        alone = run(network, image[None], **policy)
        torch.testing.assert_close(alone.logits[0], together.logits[index])
        assert [row[0] for row in alone.tokens] == [row[index] for row in together.tokens]


def by_hand(network, image, threshold):
    """One image, layer by layer, with lists of patches: no packing, no scatter."""
    backbone, prefix = network.backbone, network.config.backbone.num_prefix
    tokens = list(backbone.embed(image[None])[0])
    alive = list(range(prefix, len(tokens)))
    for layer, block in enumerate(backbone.blocks):
        if layer in network.config.decisions:
            probe = network.probes[network.config.decisions.index(layer)]
            sure = probe(torch.stack(tokens)[None, prefix:])[0].softmax(-1).max(-1).values
            alive = [place for place in alive if sure[place - prefix] <= threshold]
        places = [*range(prefix), *alive]
        for place, token in zip(places, block(torch.stack([tokens[p] for p in places])[None])[0], strict=True):
            tokens[place] = token
    patches = backbone.norm(torch.stack(tokens)[None, prefix:])
    return network.decoder(patches, (6, 6))


def test_stopped_tokens_wait_and_come_back(network):
    found = run(network, images(), kind="confidence", threshold=0.6, merging="none")
    with torch.inference_mode():
        expected = torch.cat([by_hand(network, image, 0.6) for image in images()])
    torch.testing.assert_close(found.coarse, expected)


def test_one_image_keeps_everything_and_another_nothing(network):
    prefix = network.config.backbone.num_prefix
    batch = images(2)
    probe = network.probes[0]
    with torch.inference_mode():
        sure = probe(network.backbone.blocks[0](network.backbone.embed(batch))[:, prefix:]).softmax(-1).amax((1, 2))
    threshold = float(sure.mean())  # no patch of the less sure image, some patches of the other
    found = run(network, batch, kind="confidence", threshold=threshold)
    assert found.keep[0][sure.argmin()].all()
    assert not found.keep[0][sure.argmax()].all()
    nothing = run(network, batch, kind="confidence", threshold=0.0)
    assert nothing.tokens[1:] == ((prefix, prefix),) * 3
    assert nothing.logits.isfinite().all()


def test_same_count_gives_every_image_as_many(network):
    found = run(network, images(), kind="confidence", threshold=0.6, same_count=True)
    assert all(len(set(row)) == 1 for row in found.tokens)


@pytest.mark.parametrize("size", [(24, 24), (23, 17), (4, 41)])
@pytest.mark.parametrize("decoder", ["setr", "segmenter"])
def test_any_size(size, decoder):
    network = model(decoder=decoder)
    for policy in ({"kind": "dense"}, {"kind": "confidence", "threshold": 0.6}, {"kind": "merge", "merged": 3}):
        assert run(network, images(2, size), **policy).logits.shape == (2, CLASSES, *size)


def test_padding_is_the_mean_colour_and_is_cut_back(network):
    batch = images(1, (23, 17))
    padded = torch.zeros(1, 3, 24, 20, dtype=torch.float64)
    padded[..., :23, :17] = batch
    small, large = run(network, batch, kind="dense"), run(network, padded, kind="dense")
    assert torch.equal(small.logits, large.logits[..., :23, :17])


def test_smaller_than_a_patch_is_an_error(network):
    with pytest.raises(InputError, match="smaller than a patch of 4"):
        network(images(1, (3, 24)))


@pytest.mark.parametrize("ratio", [0.9, 0.5])
def test_ratio_keeps_its_share_of_the_patches(ratio):
    network = model(policy=Policy("ratio", keep_ratio=ratio))
    found = run(network, images(), kind="ratio", keep_ratio=ratio)
    assert [keep.sum(1).tolist() for keep in found.keep] == [[round(36 * ratio**i)] * 3 for i in (1, 2, 3)]
    assert all((later <= earlier).all() for earlier, later in zip(found.keep, found.keep[1:], strict=False))


def test_the_predictor_learns_and_the_gate_changes_no_value():
    network = model(policy=Policy("ratio", keep_ratio=0.5))
    run(network, images(), kind="ratio", keep_ratio=0.5)
    network.decoder.batch_norm.eval()
    before = network(images()).coarse
    network.train()
    network.decoder.batch_norm.eval()
    found = network(images())
    torch.testing.assert_close(found.coarse, before)
    found.coarse.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.predictors[0].parameters())


def test_merging_leaves_fewer_tokens_and_full_maps(network):
    found = run(network, images(), kind="merge", merged=5)
    prefix = network.config.backbone.num_prefix
    assert [row[0] for row in found.tokens] == [prefix + 36 - 5 * layer for layer in range(4)]


def test_training_asks_every_probe_and_reaches_it(network):
    network.policy = Policy("confidence", threshold=0.6)
    network.train()
    found = network(images())
    assert len(found.auxiliary) == 3
    (found.logits.square().mean() + sum(a.square().mean() for a in found.auxiliary)).backward()
    assert all(p.grad is not None for p in network.parameters())


def test_a_configuration_survives_its_card():
    config = model(policy=Policy("ratio", keep_ratio=0.5)).config
    assert SegmenterConfig.from_dict(dataclasses.asdict(config)) == config
    with pytest.raises(InputError, match="describes a classifier"):
        SegmenterConfig.from_dict(dataclasses.asdict(config.backbone))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decisions": (2, 1)}, "rising numbers"),
        ({"decisions": (0, 1)}, "rising numbers"),
        ({"decisions": (1, 4)}, "rising numbers from 1 to 3"),
        ({"decoder": "fcn"}, "choose one of"),
        ({"num_classes": 1}, "2 or more"),
    ],
)
def test_impossible_configurations(change, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # else it objects first, as it does in tests only
    config = dataclasses.asdict(model().config)
    with pytest.raises(InputError, match=message):
        SegmenterConfig.from_dict({**config, **change})


@pytest.mark.parametrize(
    "values", [{"kind": "random"}, {"merging": "mean"}, {"threshold": 1.5}, {"keep_ratio": -0.1}, {"merged": -1}]
)
def test_impossible_policies(values, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    config = dataclasses.asdict(model().config)
    with pytest.raises(InputError, match=next(iter(values))):
        SegmenterConfig.from_dict({**config, "policy": values})


def test_sliding_covers_every_pixel_with_the_mean_of_its_windows(network):
    network.policy = Policy()
    batch = images(1, (24, 41))
    with torch.inference_mode():
        found = slide(network, batch, crop=(24, 24), stride=(16, 16))
        first, second, third = (network(batch[..., left : left + 24]).logits for left in (0, 16, 17))
    torch.testing.assert_close(found[..., :16], first[..., :16])
    torch.testing.assert_close(found[..., 41 - 1 :], third[..., -1:])
    torch.testing.assert_close(found[..., 16], (first[..., 16] + second[..., 0]) / 2)


def test_a_small_image_is_one_window(network):
    network.policy = Policy()
    with torch.inference_mode():
        whole = network(images(1, (20, 12))).logits
        torch.testing.assert_close(slide(network, images(1, (20, 12)), crop=(24, 24), stride=(16, 16)), whole)
    with pytest.raises(InputError, match="stride"):
        slide(network, images(1), crop=(8, 8), stride=(9, 8))
