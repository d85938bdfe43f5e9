"""Records of how far coarse segmentation depends on its reading: of each subject, and of one's lead over another."""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from wbcore.errors import InputError
from wbcore.measuring.sensitivity import (
    BEST,
    COMPARED,
    MEAN,
    READINGS,
    RULES,
    SHARES,
    STEPS,
    Choice,
    Freedom,
    Scores,
    Shown,
    choose,
    chosen_values,
    read_scores,
    whole_image,
)
from wbcore.metrics.intervals import bootstrap, bootstrap_mean
from wbcore.records import Record
from wbcore.records.measured import mean_record
from wbcore.subjects import Subject

LAYER_RULES = {"mass60": ("mass", 0.6), "entries20": ("entries", 0.2)}
"""The masks that are shown layer by layer."""
LEAD_AXES: dict[str, tuple[str, ...]] = {
    "compared at": COMPARED,
    "layer": ("last_but_one", "last", "own"),
    "rule": tuple(RULES),
    "share": tuple(f"{100 * share:.0f} %" for share in SHARES),
    "heads": (BEST, "fixed", MEAN),
}
"""The choices of the readings in which two subjects are compared; that of the token grid is added."""


@dataclass(frozen=True, eq=False)
class Scored:
    """The scores of one subject on one data set, by the side of its token grid; the first is its own."""

    held_back: Mapping[int, Scores]
    """On images for choosing."""
    scored: Mapping[int, Scores]

    def values(self, freedom: Freedom, side: int | None = None) -> Float[np.ndarray, "n"]:
        """IoU of each scored image under the reading that the held-back images choose."""
        side = side or self.side
        return chosen_values(self.held_back[side], self.scored[side], freedom)

    def choice(self, freedom: Freedom) -> Choice:
        return choose(self.held_back[self.side], freedom)

    @property
    def side(self) -> int:
        return next(iter(self.scored))

    @property
    def depth(self) -> int:
        return self.scored[self.side].found["pixels"].shape[1]


def scored_on(subject: Subject, held_back: Shown, scored: Shown) -> Scored:
    """A subject's scores on images for choosing and on others, on one token grid."""
    side = scored.grid[0]
    return Scored({side: read_scores(subject, held_back)}, {side: read_scores(subject, scored)})


def step_records(name: str, found: Scored, *, data: str) -> list[Record]:
    """``reading/<step>`` for each of :data:`~wbcore.measuring.sensitivity.STEPS`, from the paper's to its own."""
    return [_record(step, name, found.values(READINGS[step]), {"data": data}, {}) for step in STEPS]


def subject_records(
    name: str, found: Scored, *, keep: Collection[str], common: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[Record]:
    """``reading/<name>`` for the paper's reading and each of ``keep``, with values image by image.

    The names are those of :data:`wbcore.measuring.sensitivity.READINGS`, and ``grid<side>`` for ``pixels`` on another
    token grid; every choice was made on held-back images.  The record of ``reading/paper`` has all the rest in its
    settings, as ``[mean, low, high]``: all ``readings`` with their choices; ``by_share`` and rule at ``pixels`` (best
    head, last layer but one) and ``by_share_own`` (fixed head, own layer); ``by_layer`` (best head); ``by_grid``, for
    ``pixels`` and ``own_rule``; and ``surface``, the mean in thousandths by rule, layer and share (fixed head).
    """
    columns: dict[tuple[Any, ...], np.ndarray] = {}
    for reading, freedom in READINGS.items():
        if reading != "paper":
            columns["readings", reading] = found.values(freedom)
    for rule, share in itertools.product(RULES, SHARES):
        columns["by_share", rule, share] = found.values(Freedom("pixels", rule=rule, share=share))
        columns["by_share_own", rule, share] = found.values(Freedom("pixels", "own", rule, share, "fixed"))
    for mask, (rule, share) in LAYER_RULES.items():
        for layer in range(found.depth):
            columns["by_layer", mask, layer] = found.values(Freedom("pixels", layer, rule, share))
    for side in found.scored:
        for reading in ("pixels", "own_rule"):
            columns["by_grid", reading, side] = found.values(READINGS[reading], side)
    intervals = dict(zip(columns, _intervals(np.stack(list(columns.values()), axis=1)), strict=True))
    paper = found.values(READINGS["paper"])
    here = bootstrap_mean(paper[~np.isnan(paper)])
    shown: dict[str, Any] = {"readings": {"paper": _described(found, "paper", [*here[:3]])}, "shares": list(SHARES)}
    for (kind, *place), interval in intervals.items():
        if kind == "readings":
            shown[kind][place[0]] = _described(found, place[0], interval)
        else:
            shown.setdefault(kind, {}).setdefault(place[0], []).append(_rounded(interval))
    shown["grids"] = list(found.scored)
    shown["surface"] = {rule: [_surface(found, rule, layer) for layer in range(found.depth)] for rule in RULES}
    known = {"paper": paper, **{reading: columns["readings", reading] for reading in READINGS if reading != "paper"}}
    known |= {f"grid{side}": columns["by_grid", "pixels", side] for side in found.scored}
    return [
        _record(reading, name, known[reading], common, {**settings, **(shown if reading == "paper" else {})})
        for reading in ("paper", *keep)
    ]


def whole_records(name: str, shown: Shown, *, common: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Record]:
    """:func:`~wbcore.measuring.sensitivity.whole_image` as ``reading/own_rule``, to compare others with."""
    return [_record("own_rule", name, whole_image(shown), common, settings)]


def _record(
    reading: str, name: str, values: Float[np.ndarray, "n"], common: Mapping[str, Any], settings: Mapping[str, Any]
) -> Record:
    there = values[~np.isnan(values)]
    said = {**settings, "images_without_object": len(values) - len(there)}
    return mean_record(f"reading/{reading}", name, there, digits=3, settings=said, **common)


def _intervals(columns: Float[np.ndarray, "n c"]) -> list[list[float]]:
    """``[mean, low, high]`` of each column over the images that have an object, from one draw for all."""
    there = columns[~np.isnan(columns).any(axis=1)]
    return [
        [one.value, one.value if one.low is None else one.low, one.value if one.high is None else one.high]
        for one in bootstrap(lambda drawn: there[drawn].mean(axis=0), len(there))
    ]


def _described(found: Scored, reading: str, interval: Sequence[float | None]) -> dict[str, Any]:
    choice = found.choice(READINGS[reading])
    return {
        "layer": choice.layer + 1,
        "rule": choice.rule,
        "share": choice.share,
        "head": choice.head,
        "value": _rounded(interval),
    }


def _surface(found: Scored, rule: str, layer: int) -> list[int]:
    freedoms = (Freedom("pixels", layer, rule, share, "fixed") for share in SHARES)
    return [round(1000 * float(np.nanmean(found.values(freedom)))) for freedom in freedoms]


def _rounded(interval: Sequence[float | None]) -> list[float | None]:
    return [None if bound is None else round(bound, 3) for bound in interval]


def lead_readings(side: int, compared: str) -> Iterator[tuple[dict[str, str], Freedom]]:
    """Every reading of :data:`LEAD_AXES` on one grid at ``tokens`` or ``pixels``: what it is called, and itself."""
    axes = {**LEAD_AXES, "compared at": (compared,)}
    for names in itertools.product(*axes.values()):
        _, layer, rule, share, head = names
        freedom = Freedom(compared, layer, rule, SHARES[axes["share"].index(share)], head)  # pyright: ignore[reportArgumentType]
        yield {**dict(zip(axes, names, strict=True)), "tokens a side": f"{side}"}, freedom


def lead_record(
    pair: tuple[str, str], left: Scored, right: Scored, *, common: Mapping[str, Any], settings: Mapping[str, Any]
) -> Record:
    """``reading/lead`` of ``<left>_over_<right>``: in which share of all readings the one is ahead of the other.

    Ahead is the mean over images.  The settings hold how many readings are decided by their paired 95 % interval,
    ``[holds, undecided, fails]``, in all (``decided``) and for each value of each choice (``by_choice``), and the leads
    in thousandths from the least to the greatest, at 41 even places (``quantiles``).
    Raises: InputError if the two have no token grid in common.
    """
    sides = [side for side in left.scored if side in right.scored]
    if not sides:
        raise InputError(f"{pair[0]} and {pair[1]} have no token grid in common: their masks cannot be compared")
    leads, verdicts, names = [], [], []
    for side, compared in itertools.product(sides, COMPARED):
        readings = list(lead_readings(side, compared))
        differences = [left.values(freedom, side) - right.values(freedom, side) for _, freedom in readings]
        for (called, _), (mean, low, high) in zip(readings, _intervals(np.stack(differences, axis=1)), strict=True):
            names.append(called)
            leads.append(mean)
            verdicts.append("holds" if low > 0 else "fails" if high < 0 else "undecided")
    by_choice = {
        axis: {
            value: _counts([v for v, called in zip(verdicts, names, strict=True) if called[axis] == value])
            for value in dict.fromkeys(called[axis] for called in names)
        }
        for axis in names[0]
    }
    quantiles = np.quantile(leads, np.linspace(0, 1, 41))
    return Record(
        metric="reading/lead",
        model=f"{pair[0]}_over_{pair[1]}",
        value=float(np.mean(np.array(leads) > 0)),
        low=None,
        high=None,
        n=len(next(iter(left.scored.values())).found["pixels"]),
        settings={
            **settings,
            "decided": _counts(verdicts),
            "by_choice": by_choice,
            "quantiles": [round(1000 * float(one)) for one in quantiles],
        },
        **common,
    )


def _counts(verdicts: Sequence[str]) -> list[int]:
    return [sum(one == verdict for one in verdicts) for verdict in ("holds", "undecided", "fails")]
