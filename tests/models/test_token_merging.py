"""Token merging: means by hand, sizes that add up, and every token found again."""

import pytest
import torch

from wbcore.models.token_merging import Merged, merge_similar

BATCH, TOKENS, DIM, PREFIX = 3, 13, 5, 2


@pytest.fixture(params=range(4))
def tokens(request):
    return torch.randn(BATCH, TOKENS, DIM, generator=torch.Generator().manual_seed(request.param))


def test_the_most_similar_pair_becomes_its_mean():
    tokens = torch.tensor([[[9.0, 9.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.1], [3.0, 0.0]]])  # class token, 4 patches
    merged = merge_similar(Merged.whole(tokens), tokens, count=1, num_prefix=1)
    # Patches 0 and 2 look among 1 and 3 for their likes: 0 is parallel to 3.
    assert merged.tokens.tolist() == [[[9.0, 9.0], [0.0, 1.0], [-1.0, pytest.approx(0.1)], [2.0, 0.0]]]
    assert merged.sizes.tolist() == [[1.0, 1.0, 1.0, 2.0]]
    assert merged.place.tolist() == [[0, 3, 1, 2, 3]]


def test_sizes_weigh_what_merged_before():
    tokens = torch.tensor([[[1.0, 0.0], [4.0, 0.0]]])
    state = Merged(tokens, torch.tensor([[2.0, 1.0]]), torch.tensor([[0, 0, 1]]))
    merged = merge_similar(state, tokens, count=1, num_prefix=0)
    assert merged.tokens.tolist() == [[[2.0, 0.0]]]
    assert merged.sizes.tolist() == [[3.0]]
    assert merged.restore().tolist() == [[[2.0, 0.0]] * 3]


@pytest.mark.parametrize("count", [1, 3, 100])
def test_nothing_is_lost(tokens, count):
    state = Merged.whole(tokens)
    for _ in range(3):
        state = merge_similar(state, state.tokens, count=count, num_prefix=PREFIX)
        torch.testing.assert_close(state.sizes.sum(1), torch.full((BATCH,), float(TOKENS)))
        # The sum over patches, each as often as it stands for one, is that of the beginning.
        torch.testing.assert_close((state.tokens * state.sizes[..., None]).sum(1), tokens.sum(1), rtol=1e-4, atol=1e-5)
        assert torch.equal(state.place[:, :PREFIX], torch.arange(PREFIX).expand(BATCH, -1))
        counted = torch.zeros_like(state.sizes).scatter_add(1, state.place, torch.ones(BATCH, TOKENS))
        torch.testing.assert_close(counted, state.sizes)
    assert state.restore().shape == tokens.shape


def test_no_pair_no_change(tokens):
    state = Merged.whole(tokens)
    assert merge_similar(state, tokens, count=0, num_prefix=PREFIX) is state
    assert torch.equal(state.restore(), tokens)
