"""Probes on features whose content is known: what they hold is found, what they do not hold is not."""

import pytest
import torch

from wbcore.errors import InputError
from wbcore.metrics.probes import OFFICIAL_STRENGTHS, fit_linear, hits, k_nearest, one_token


def clusters(count: int, *, classes=(2, 3, 7), dim: int = 11, noise: float = 0.5, seed: int = 0):
    """Features around one centre a class, and their labels."""
    centres = 3 * torch.eye(dim)[: len(classes)]
    generator = torch.Generator().manual_seed(seed)
    which = torch.arange(count) % len(classes)
    features = centres[which] + noise * torch.randn(count, dim, generator=generator)
    return features, torch.tensor(classes)[which]


class TestOneToken:
    tokens = torch.arange(5 * 7 * 3, dtype=torch.float).view(5, 7, 3)

    def test_only_marked_tokens_are_drawn_and_images_without_one_left_out(self):
        where = torch.zeros(5, 7, dtype=torch.bool)
        where[0, 2] = where[3, 5] = where[3, 6] = where[4] = True
        drawn = set()
        for seed in range(29):
            features, images = one_token(self.tokens, where, generator=torch.Generator().manual_seed(seed))
            assert images.tolist() == [0, 3, 4]
            places = ((features[:, 0] - self.tokens[images, 0, 0]) / 3).long()
            assert where[images, places].all()
            assert torch.equal(self.tokens[images, places], features)
            drawn.add(tuple(places.tolist()))
        assert {places[1] for places in drawn} == {5, 6}
        assert {places[2] for places in drawn} == set(range(7))

    def test_there_may_be_none(self):
        nothing = torch.zeros(5, 7, dtype=torch.bool)
        features, images = one_token(self.tokens, nothing, generator=torch.Generator().manual_seed(0))
        assert features.shape == (0, 3)
        assert len(images) == 0


class TestLinear:
    def test_classes_are_told_apart(self):
        probe = fit_linear(*clusters(97))
        features, labels = clusters(101, seed=1)
        assert probe.classes.tolist() == [2, 3, 7]
        assert hits(probe.predict(features), labels, known=probe.classes).mean() > 0.95

    def test_features_that_say_nothing(self):
        labels = clusters(300)[1]
        generator = torch.Generator().manual_seed(0)
        probe = fit_linear(torch.randn(300, 5, generator=generator), labels)
        found = hits(probe.predict(torch.randn(300, 5, generator=generator)), labels, known=probe.classes)
        assert found.mean().item() == pytest.approx(1 / 3, abs=0.12)

    @pytest.mark.parametrize("classes", [(2, 3, 7), (0, 1)])
    def test_at_the_optimum_the_gradient_of_the_penalised_loss_vanishes(self, classes):
        """The probe's own logits, by autograd: mean cross-entropy + |W|² / (2 C m), on scaled features."""
        features, labels = clusters(97, classes=classes, noise=2.0)
        probe = fit_linear(features, labels, strengths=(0.5,))
        scaled = (features - features.mean(0)) / features.std(0, correction=0)
        design = torch.cat([scaled, torch.ones(97, 1)], dim=1).double()
        weights = torch.linalg.lstsq(design, probe.logits(features).double()).solution.requires_grad_()
        targets = torch.searchsorted(probe.classes, labels)
        loss = torch.nn.functional.cross_entropy(design @ weights, targets, reduction="sum")
        penalty = weights[:-1].square().sum() / (2 * 0.5)
        (loss + (1 if len(classes) > 2 else 2) * penalty).backward()  # two classes share one vector, ±w/2
        assert weights.grad is not None
        assert weights.grad.abs().max() < 0.02

    def test_of_several_strengths_the_best_on_held_out_images(self):
        features, labels = clusters(61, noise=4.0)
        probe = fit_linear(features, labels, strengths=(1e-3, 1e3))
        assert probe.strength in (1e-3, 1e3)
        again = fit_linear(features, labels, strengths=(probe.strength,))
        assert torch.equal(again.logits(features), probe.logits(features))
        easy = fit_linear(*clusters(61, noise=0.01), strengths=(10.0, 1.0, 100.0))
        assert easy.strength == 1.0  # all are right: the smallest

    def test_official_strengths(self):
        assert len(OFFICIAL_STRENGTHS) == 45
        assert OFFICIAL_STRENGTHS[0] == pytest.approx(1e-6)
        assert OFFICIAL_STRENGTHS[-1] == pytest.approx(1e5)


class TestNeighbours:
    def test_equals_a_loop(self):
        features, labels = clusters(61, noise=3.0)
        queries, _ = clusters(29, noise=3.0, seed=1)
        found = k_nearest(features, labels, queries, k=7, temperature=0.1)
        for query, label in zip(queries, found.tolist(), strict=True):
            cosines = [float(torch.cosine_similarity(query, each, dim=0)) for each in features]
            nearest = sorted(range(61), key=lambda i: -cosines[i])[:7]
            votes = dict.fromkeys((2, 3, 7), 0.0)
            for i in nearest:
                votes[int(labels[i])] += float(torch.tensor(cosines[i] / 0.1).exp())
            assert label == max(votes, key=lambda each: votes[each])
        assert set(found.tolist()) == {2, 3, 7}

    def test_of_equal_votes_the_smallest_label(self):
        features = torch.eye(5)
        found = k_nearest(features, torch.tensor([7, 3, 5, 3, 9]), torch.ones(1, 5) - torch.eye(5)[[1]], k=4)
        assert found.tolist() == [3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_linear(torch.ones(5, 3), torch.zeros(5, dtype=torch.long)), "1 class in the training data"),
        (lambda: fit_linear(torch.ones(5, 3), torch.arange(7)), "5 features and 7 labels"),
        (lambda: fit_linear(torch.full((5, 3), torch.nan), torch.arange(5)), "NaN or infinite"),
        (lambda: fit_linear(torch.ones(5, 3), torch.arange(5), strengths=()), r"strengths=\(\)"),
        (lambda: fit_linear(torch.ones(5, 3), torch.arange(5), strengths=(1.0, 2.0)), "too few to choose"),
        (lambda: k_nearest(torch.ones(5, 3), torch.arange(5), torch.ones(2, 3)), "k=20: there are 5 neighbours"),
        (
            lambda: hits(torch.tensor([3, 3]), torch.tensor([3, 4]), known=torch.tensor([2, 3])),
            "label 4 never occurs in the training data",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
