"""Principal components against numpy's SVD, on planted clusters, and under what must not matter."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from wbcore.data.example import VOID
from wbcore.errors import InputError
from wbcore.metrics.attention import NoObjectError
from wbcore.metrics.pca import (
    RULES,
    class_components,
    depth_components,
    foreground_iou,
    principal_projections,
)

IMAGES, GRID, DIM = 3, (7, 11), 13
TOKENS = GRID[0] * GRID[1]


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spread_tokens(seed=0):
    """Tokens around a mean far from zero, with a variance of their own in every direction."""
    scales = torch.linspace(3, 0.2, DIM, dtype=torch.float64)
    return noise(IMAGES, TOKENS, DIM, seed=seed) * scales + torch.linspace(-1, 2, DIM, dtype=torch.float64)


def planted(inside=None, *, seed=0, contrast=4.0):
    """Tokens of two clusters, and which of them are of the first: a block of another place in each image."""
    if inside is None:
        inside = torch.zeros(IMAGES, *GRID, dtype=torch.bool)
        for image in range(IMAGES):
            inside[image, 1 + image : 4 + image, 2 : 7 + image] = True
    direction = torch.nn.functional.normalize(noise(DIM, seed=seed + 1), dim=0)
    tokens = contrast * inside.flatten(1)[..., None] * direction + 0.1 * noise(IMAGES, TOKENS, DIM, seed=seed)
    return tokens, inside


def rotation(seed=5):
    return torch.linalg.qr(noise(DIM, DIM, seed=seed)).Q


class TestPrincipalProjections:
    @pytest.mark.parametrize("centred", [True, False])
    def test_equals_numpys_svd(self, centred):
        tokens = spread_tokens()
        points = tokens.flatten(0, 1).numpy()
        points = points - points.mean(axis=0) if centred else points
        left, values, _ = np.linalg.svd(points, full_matrices=False)
        expected = left[:, :5] * values[:5]
        expected *= np.sign(expected[np.abs(expected).argmax(axis=0), range(5)])
        found = principal_projections(tokens, 5, centred=centred).flatten(0, 1)
        np.testing.assert_allclose(found, expected, atol=1e-10)

    def test_centring_matters(self):
        tokens = spread_tokens()
        apart = principal_projections(tokens, 1, centred=True) - principal_projections(tokens, 1, centred=False)
        assert apart.abs().max() > 0.1

    def test_axes_by_hand(self):
        """Four points on two axes, as wide as 6 and as 2."""
        tokens = torch.tensor([[[3.0, 0.0], [-3.0, 0.0]], [[0.0, 1.0], [0.0, -1.0]]])
        found = principal_projections(tokens, 2)
        expected = torch.tensor([[[3.0, 0.0], [-3.0, 0.0]], [[0.0, 1.0], [0.0, -1.0]]], dtype=torch.float64)
        torch.testing.assert_close(found, expected)

    def test_among_is_the_analysis_of_those_alone(self):
        tokens = spread_tokens()
        among = noise(IMAGES, TOKENS, seed=3) > 0.3
        found = principal_projections(tokens, 3, among=among)
        alone = principal_projections(tokens[among][None], 3)[0]
        torch.testing.assert_close(found[among], alone)
        assert not found[~among].any()

    def test_largest_projection_is_positive(self):
        found = principal_projections(spread_tokens(), DIM).flatten(0, 1)
        assert torch.equal(found.amax(0), found.abs().amax(0))

    @pytest.mark.parametrize("centred", [True, False])
    def test_rotation_of_the_features_changes_nothing(self, centred):
        tokens = spread_tokens()
        turned = principal_projections(tokens @ rotation(), 3, centred=centred)
        torch.testing.assert_close(turned, principal_projections(tokens, 3, centred=centred), atol=1e-9, rtol=0)

    def test_shift_of_the_features_changes_nothing_when_centred(self):
        tokens = spread_tokens()
        shifted = principal_projections(tokens + 7 * noise(DIM, seed=9), 3)
        torch.testing.assert_close(shifted, principal_projections(tokens, 3), atol=1e-9, rtol=0)

    def test_order_of_images_and_tokens_is_carried_through(self):
        tokens = spread_tokens()
        images = torch.tensor([2, 0, 1])
        order = torch.randperm(TOKENS, generator=torch.Generator().manual_seed(2))
        found = principal_projections(tokens[images][:, order], 3)
        torch.testing.assert_close(found, principal_projections(tokens, 3)[images][:, order], atol=1e-9, rtol=0)

    def test_single_precision_is_analysed_in_double(self):
        tokens = spread_tokens()
        found = principal_projections(tokens.float(), 3)
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, principal_projections(tokens, 3), atol=1e-4, rtol=0)

    def test_fewer_tokens_than_components(self):
        """Two tokens span one direction; the others hold nothing, not scaled-up rounding errors."""
        found = principal_projections(spread_tokens()[:1, :2].float(), 5)
        assert found[..., 0].abs().min() > 0.1
        assert not found[..., 1:].any()

    @pytest.mark.parametrize("value", [0.1, 1e6])
    def test_equal_tokens_have_no_component(self, value):
        assert not principal_projections(torch.full((IMAGES, TOKENS, DIM), value), 3).any()

    def test_no_token_kept(self):
        among = torch.zeros(IMAGES, TOKENS, dtype=torch.bool)
        assert not principal_projections(spread_tokens(), 3, among=among).any()

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_not_finite(self, bad):
        tokens = spread_tokens()
        tokens[1, 2, 3] = bad
        with pytest.raises(InputError, match="1 values that are NaN or infinite"):
            principal_projections(tokens, 2)

    @pytest.mark.parametrize("count", [0, DIM + 1])
    def test_impossible_number_of_components(self, count):
        with pytest.raises(InputError, match="ask for 1 to 13"):
            principal_projections(spread_tokens(), count)


class TestCut:
    """At one half: strictly above it where projections are scaled, from it on where they are not."""

    values = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 1.0, 2.0, 2.0]])

    def test_scale_of_each_image(self):
        expected = [[False, False, False, True, True], [False, False, False, True, True]]
        assert RULES["code"].cut(self.values).tolist() == expected

    def test_one_scale(self):
        expected = [[False, False, False, True, True], [False] * 5]
        assert RULES["code_one_scale"].cut(self.values).tolist() == expected

    def test_plain(self):
        values = torch.tensor([[-0.6, -0.5, -0.49, 0.0, 0.49, 0.5, 0.6]])
        assert RULES["text"].cut(values).tolist() == [[False] * 5 + [True] * 2]
        assert RULES["text_nonzero"].cut(values).tolist() == [[True] * 2 + [False] * 3 + [True] * 2]

    def test_image_in_which_nothing_varies(self):
        flat = torch.tensor([[5.0, 5.0, 5.0], [1.0, 2.0, 3.0]])
        assert RULES["code"].cut(flat).tolist() == [[False] * 3, [False, False, True]]


class TestClassComponents:
    @pytest.mark.parametrize("rule", RULES)
    def test_planted_clusters_are_found_exactly(self, rule):
        tokens, inside = planted()
        found = class_components(tokens, GRID, rule=rule)
        assert torch.equal(found.foreground, inside)
        assert found.first[inside].min() > found.first[~inside].max()

    @pytest.mark.parametrize("rule", ["code", "code_one_scale", "text"])
    @pytest.mark.parametrize("flip", [1, -1])
    def test_sign_is_settled_by_the_border(self, rule, flip):
        """Inside and outside are opposite, and equally far from zero: the inside is the foreground either way."""
        tokens, inside = planted()
        opposite = torch.where(inside.flatten(1)[..., None], flip, -flip) * noise(DIM, seed=1) + 0.01 * tokens
        assert torch.equal(class_components(opposite, GRID, rule=rule).foreground, inside)

    def test_sign_is_one_for_all_images_of_the_class(self):
        """An object that fills the frame of one image stays the object that it is in the others."""
        tokens, inside = planted()
        inside[0] = False
        inside[0, :2] = True
        tokens, inside = planted(inside)
        assert torch.equal(class_components(tokens, GRID).foreground, inside)

    @pytest.mark.parametrize("rule", RULES)
    def test_background_has_no_colour_and_the_foreground_the_whole_range(self, rule):
        tokens, inside = planted()
        colours = class_components(tokens, GRID, rule=rule).colours
        assert not colours[~inside].any()
        torch.testing.assert_close(colours[inside].amin(0), torch.zeros(3, dtype=torch.float64))
        torch.testing.assert_close(colours[inside].amax(0), torch.ones(3, dtype=torch.float64))

    def test_colours_are_the_components_of_the_foreground_alone(self):
        tokens, inside = planted()
        points = tokens[inside.flatten(1)].numpy()
        left, values, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
        expected = left[:, :3] * values[:3]
        expected *= np.sign(expected[np.abs(expected).argmax(axis=0), range(3)])
        expected = (expected - expected.min(axis=0)) / np.ptp(expected, axis=0)
        np.testing.assert_allclose(class_components(tokens, GRID).colours[inside], expected, atol=1e-9)

    @pytest.mark.parametrize("rule", RULES)
    def test_rotation_and_order_of_images(self, rule):
        tokens = planted()[0] + 0.2 * spread_tokens(seed=8)
        images = torch.tensor([2, 0, 1])
        found = class_components(tokens[images] @ rotation(), GRID, rule=rule)
        for one, other in zip(found, class_components(tokens, GRID, rule=rule), strict=True):
            torch.testing.assert_close(one, other[images], atol=1e-9, rtol=0)

    def test_transposed_images_have_transposed_components(self):
        tokens, _ = planted()
        turned = tokens.unflatten(1, GRID).transpose(1, 2).flatten(1, 2)
        for one, other in zip(class_components(turned, GRID[::-1]), class_components(tokens, GRID), strict=True):
            torch.testing.assert_close(one, other.transpose(1, 2), atol=1e-9, rtol=0)

    def test_holes_are_filled_as_scipy_does_image_by_image(self):
        _, inside = planted()
        for image in range(IMAGES):
            inside[image, 2 + image, 4] = False
        inside[0, 2, 4:] = False  # open to the right in the first image
        tokens, _ = planted(inside)
        expected = [ndimage.binary_fill_holes(mask) for mask in inside.numpy()]
        found = class_components(tokens, GRID).foreground.numpy()
        assert np.array_equal(found, expected)
        assert found.sum() == inside.sum() + 2
        assert torch.equal(class_components(tokens, GRID, rule="text").foreground, inside)

    @pytest.mark.parametrize("rule", RULES)
    def test_equal_tokens_have_no_foreground(self, rule):
        found = class_components(torch.zeros(IMAGES, TOKENS, DIM), GRID, rule=rule)
        assert not found.foreground.any()
        assert not found.colours.any()

    def test_foreground_in_which_nothing_varies_is_grey(self):
        _, inside = planted()
        tokens = inside.flatten(1)[..., None].double().expand(-1, -1, DIM)
        found = class_components(tokens, GRID)
        assert torch.equal(found.foreground, inside)
        assert torch.equal(found.colours, 0.5 * inside[..., None].double().expand(-1, -1, -1, 3))

    def test_is_the_same_twice(self):
        tokens = spread_tokens()
        for one, other in zip(class_components(tokens, GRID), class_components(tokens, GRID), strict=True):
            assert torch.equal(one, other)

    @pytest.mark.parametrize(
        ("change", "message"),
        [({"rule": "paper"}, "choose one of code"), ({"grid": (7, 12)}, "leave out prefix tokens")],
        ids=["rule", "grid"],
    )
    def test_bad_input(self, change, message):
        with pytest.raises(InputError, match=message):
            class_components(spread_tokens(), **{"grid": GRID, **change})


class TestDepthComponents:
    def test_is_the_first_and_the_next_three(self):
        tokens = spread_tokens()
        found = depth_components(tokens, GRID)
        expected = principal_projections(tokens, 4).flatten(0, 1)
        expected = (expected - expected.amin(0)) / (expected.amax(0) - expected.amin(0))
        torch.testing.assert_close(found.colours, expected[:, 1:].view(IMAGES, *GRID, 3))
        first = expected[:, 0].view(IMAGES, *GRID)
        assert torch.allclose(found.first, first) or torch.allclose(found.first, 1 - first)

    def test_object_is_bright(self):
        tokens, inside = planted()
        for sign in (1, -1):
            first = depth_components(sign * tokens, GRID).first
            assert first[inside].min() > 0.8
            assert first[~inside].max() < 0.2

    def test_equal_tokens_are_grey(self):
        found = depth_components(torch.ones(IMAGES, TOKENS, DIM), GRID)
        assert (found.first == 0.5).all()
        assert (found.colours == 0.5).all()

    def test_bad_grid(self):
        with pytest.raises(InputError, match="leave out prefix tokens"):
            depth_components(spread_tokens(), (7, 12))


class TestForegroundIou:
    def test_by_hand(self):
        """Tokens of 2×2 pixels: the foreground covers 8 pixels, 6 of them on an object of 7; two classes are one."""
        objects = torch.zeros(4, 6, dtype=torch.uint8)
        objects[:2, :3] = 3
        objects[3, 5] = 8
        foreground = torch.tensor([[True, True, False], [False, False, False]])
        assert foreground_iou(foreground, objects) == pytest.approx(6 / 9)
        objects[:2, 3] = VOID
        assert foreground_iou(foreground, objects) == pytest.approx(6 / 7)

    def test_ends(self):
        objects = torch.zeros(14, 22, dtype=torch.uint8)
        objects[2:6, 4:10] = 1
        exact = objects[::2, ::2] > 0
        assert foreground_iou(exact, objects) == 1
        assert foreground_iou(torch.zeros_like(exact), objects) == 0

    def test_no_object(self):
        with pytest.raises(NoObjectError):
            foreground_iou(torch.ones(2, 3, dtype=torch.bool), torch.full((4, 6), VOID, dtype=torch.uint8))
