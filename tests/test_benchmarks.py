"""The references that speed is measured against compute the same thing."""

import torch

from benchmarks.attention import WORK, layers


def test_attention_with_its_matrix_is_attention_without():
    ours, reference = layers("cpu")
    tokens = torch.randn(2, 13, 384, generator=torch.Generator().manual_seed(0))
    for name, work in WORK.items():
        torch.testing.assert_close(work(ours, tokens), work(reference, tokens), msg=name)
    for mine, theirs in zip(ours.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-7)
