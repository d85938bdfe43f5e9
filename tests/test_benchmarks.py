"""The references that speed is measured against compute the same thing."""

import torch

import benchmarks.token_pass as token_pass
from benchmarks.attention import WORK, layers


def test_attention_with_its_matrix_is_attention_without():
    ours, reference = layers("cpu")
    tokens = torch.randn(2, 13, 384, generator=torch.Generator().manual_seed(0))
    for name, work in WORK.items():
        torch.testing.assert_close(work(ours, tokens), work(reference, tokens), msg=name)
    for mine, theirs in zip(ours.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-7)


def test_scheduled_probes_stop_what_they_are_told():
    model = token_pass.segmenter("vit_tiny_patch16_224", (80, 112), "cpu")
    images = torch.randn(2, 3, 80, 112, generator=torch.Generator().manual_seed(0))
    token_pass.schedule(model, [(0.0, 0.2), (0.2, 0.6), (0.8, 1.0)])
    batch, tokens = token_pass.forward(model, images, "confidence")
    assert tokens == [[36] * 6 + [29] * 3 + [8] * 3, [36] * 3 + [29] * 3 + [15] * 3 + [1] * 3]
    token_pass.schedule(model, [(0.2,), (0.6,), (1.0,)])
    alone, counts = token_pass.forward(model, images[1:], "confidence")
    assert counts == tokens[1:]
    torch.testing.assert_close(alone, batch[1:])


def test_nothing_to_stop_is_the_dense_model():
    model = token_pass.segmenter("vit_tiny_patch16_224", (80, 112), "cpu")
    images = torch.randn(2, 3, 80, 112, generator=torch.Generator().manual_seed(0))
    token_pass.schedule(model, [(0.0, 0.0)] * 3)
    (passed, tokens), (dense, all_tokens) = (
        token_pass.forward(model, images, kind) for kind in ("confidence", "dense")
    )
    assert tokens == all_tokens == [[36] * 12] * 2
    assert torch.equal(passed, dense)
