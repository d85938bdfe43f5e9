"""Local probes on tokens that hold their position, their pixels or their class, or nothing."""

import pytest
import torch

from wbcore.data.example import VOID
from wbcore.errors import InputError
from wbcore.metrics.local_probes import (
    fit_segmentation,
    patch_pixels,
    position_errors,
    reconstruction_errors,
    segment,
)
from wbcore.metrics.segmentation import confusion, scores, tally

GRID = (3, 5)


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class TestPosition:
    def test_tokens_that_hold_their_position_and_one_that_does_not(self):
        places = 5 * noise(15, 17, seed=0)
        train, test = places + 0.1 * noise(11, 15, 17, seed=1), places + 0.1 * noise(7, 15, 17, seed=2)
        test[:, 4] = places[13] + 0.1  # says (2, 3) at (0, 4)
        found = position_errors(train, test, GRID)
        assert found.correct[:, 4].unique().tolist() == [0]
        assert found.distance[:, 4].tolist() == pytest.approx([5**0.5] * 7)
        rest = [place for place in range(15) if place != 4]
        assert found.correct[:, rest].min() == 1
        assert found.distance[:, rest].max() == 0

    def test_tokens_that_hold_nothing(self):
        found = position_errors(noise(31, 15, 7, seed=0), noise(31, 15, 7, seed=1), GRID)
        assert found.correct.mean().item() == pytest.approx(1 / 15, abs=0.06)
        rows, cols = torch.arange(15) // 5, torch.arange(15) % 5
        chance = torch.hypot((rows - rows[:, None]).float(), (cols - cols[:, None]).float()).mean().item()
        assert found.distance.mean().item() == pytest.approx(chance, rel=0.2)


class TestReconstruction:
    def test_patches_are_rows_of_pixels_in_the_order_of_tokens(self):
        images = torch.arange(2 * 3 * 6 * 10, dtype=torch.float).view(2, 3, 6, 10)
        found = patch_pixels(images, 2)
        assert found.shape == (2, 15, 12)
        assert torch.equal(found[1, 7].view(3, 2, 2), images[1, :, 2:4, 4:6])

    def test_what_a_linear_map_can_and_cannot_tell(self):
        """Pixels are a linear function of the tokens and a part that no token knows; only that part is missed."""
        mapping, offset = noise(7, 19, seed=0), noise(19, seed=1)
        train, test = noise(61, 15, 7, seed=2), noise(3, 15, 7, seed=3)
        hidden = torch.zeros(3, 15, 19)
        hidden[1, 4, :2] = torch.tensor([3.0, 4.0])
        found = reconstruction_errors(train, train @ mapping + offset, test, test @ mapping + offset + hidden)
        assert found[1, 4].item() == pytest.approx(5, rel=1e-4)
        found[1, 4] = 0
        assert found.max() < 1e-3

    def test_tokens_that_hold_nothing_give_the_mean_patch(self):
        pixels, held = noise(61, 15, 19, seed=1), noise(5, 15, 19, seed=2)
        found = reconstruction_errors(torch.ones(61, 15, 3), pixels, torch.ones(5, 15, 3), held)
        torch.testing.assert_close(found, (held - pixels.flatten(0, 1).mean(0)).norm(dim=-1), atol=1e-4, rtol=1e-4)


class TestSegmentation:
    def tokens_of(self, labels: torch.Tensor, seed: int) -> torch.Tensor:
        """Tokens that say the class of their patch of 4 x 4 pixels."""
        return 3 * torch.eye(11)[labels[:, ::4, ::4].flatten(1).long()] + 0.1 * noise(len(labels), 15, 11, seed=seed)

    def maps(self, count: int, seed: int) -> torch.Tensor:
        """Label maps of the classes 0, 2 and 3, one a patch."""
        draw = torch.randint(3, (count, 3, 5), generator=torch.Generator().manual_seed(seed))
        coarse = torch.tensor([0, 2, 3], dtype=torch.uint8)[draw]
        return coarse.repeat_interleave(4, 1).repeat_interleave(4, 2)

    def test_classes_are_found_and_their_borders_are_straight(self):
        train, test = self.maps(13, 0), self.maps(7, 1)
        train[3, :8] = VOID  # six rows of patches that nobody knows: their tokens say class 5
        tokens = self.tokens_of(train.where(train != VOID, torch.tensor(5, dtype=torch.uint8)), 2)
        probe = fit_segmentation(tokens, list(train), GRID)
        assert probe.classes.tolist() == [0, 2, 3]
        found = [segment(probe, each, GRID, (12, 20)) for each in self.tokens_of(test, 3)]
        tallies = tally(confusion(one.numpy(), each.numpy(), classes=4) for one, each in zip(found, test, strict=True))
        assert scores(tallies, resamples=0).miou.value > 0.85
        centres = torch.stack(found)[:, 1::4, 1::4]
        assert torch.equal(centres, test[:, 1::4, 1::4].long())

    def test_an_image_of_any_size(self):
        train = self.maps(5, 0)
        probe = fit_segmentation(self.tokens_of(train, 1), list(train), GRID)
        assert segment(probe, self.tokens_of(train, 1)[0], GRID, (13, 17)).shape == (13, 17)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: position_errors(torch.ones(2, 16, 3), torch.ones(2, 16, 3), GRID),
            "16 tokens given, but",
        ),
        (lambda: position_errors(torch.ones(2, 1, 3), torch.ones(2, 1, 3), (1, 1)), "1 class in the training data"),
        (lambda: patch_pixels(torch.ones(1, 3, 7, 10), 2), "7x10 pixels have no whole patches of 2"),
        (lambda: fit_segmentation(torch.ones(2, 15, 3), [], GRID), "2 images and 0 label maps"),
        (
            lambda: fit_segmentation(torch.ones(1, 15, 3), [torch.full((12, 20), VOID, dtype=torch.uint8)], GRID),
            "0 class in the training data",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
