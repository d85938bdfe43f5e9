"""The layout of tokens: every one in exactly one part, rows before columns."""

import pytest
import torch

from wbcore.errors import InputError
from wbcore.tokens import TokenLayout, grid_of

LAYOUT = TokenLayout(num_prefix=3, grid=(5, 7))


def test_counts():
    assert (LAYOUT.num_patches, LAYOUT.num_tokens) == (35, 38)


def test_prefix_and_patches_are_all_tokens():
    tokens = torch.randn(2, 38, 11)
    prefix, patches = LAYOUT.prefix(tokens), LAYOUT.patches(tokens)
    assert (prefix.shape, patches.shape) == ((2, 3, 11), (2, 35, 11))
    assert torch.equal(torch.cat([prefix, patches], dim=1), tokens)


def test_attention_rows_are_split_along_their_last_dimension():
    row = torch.randn(2, 13, 38)
    assert torch.equal(LAYOUT.prefix(row, dim=-1), row[..., :3])
    assert torch.equal(LAYOUT.patches(row, dim=-1), row[..., 3:])


def test_grid_is_row_by_row():
    grid = LAYOUT.to_grid(LAYOUT.patches(torch.arange(38), dim=-1))
    assert grid.shape == (5, 7)
    assert all(grid[row, col] == 3 + 7 * row + col for row in range(5) for col in range(7))


@pytest.mark.parametrize("split", [LAYOUT.prefix, LAYOUT.patches])
def test_tokens_of_another_layout_are_an_error(split):
    with pytest.raises(InputError, match="35 tokens given, but 3 prefix tokens and a grid of 5×7 patches make 38"):
        split(torch.zeros(2, 35, 11))


def test_grid_of_an_image():
    assert grid_of((35, 91), 7) == (5, 13)


@pytest.mark.parametrize(
    ("size", "remedy"), [((225, 224), "224×224"), ((224, 231), "224×224"), ((5, 47), "16×48"), ((0, 16), "16×16")]
)
def test_image_that_is_not_divisible_by_the_patch(size, remedy):
    with pytest.raises(InputError, match=f"{size[0]}×{size[1]} is not divisible by the patch size 16: .* {remedy}"):
        grid_of(size, 16)
