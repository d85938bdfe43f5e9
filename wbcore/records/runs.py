"""Training runs of one model, which records name one by one: ``crate``, ``crate_seed1``, ``crate_seed2``."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from wbcore.errors import InputError
from wbcore.metrics.intervals import mean_over_seeds
from wbcore.records.comparison import Comparison, verdict_on
from wbcore.records.names import step_of
from wbcore.records.record import Record


def run_of(model: str, seed: int) -> str:
    """What records call the training run of a model with one seed; the first, 0, has the plain name."""
    return f"{model}_seed{seed}" if seed else model


def runs_of(records: Sequence[Record], models: Sequence[str]) -> list[Record]:
    """The records of all runs of ``models``, each under the plain name, so that several seeds stand behind it."""
    found = [(step_of(record.model), record) for record in records]
    return [
        replace(record, model=run.model) for run, record in found if run.kind in ("", "seed") and run.model in models
    ]


def greater_by_run(left: Sequence[Record], right: Sequence[Record], *, margin: float = 0.0) -> Comparison:
    """Is ``left`` greater than ``right`` by ``margin``, in networks that are trained again?

    The runs of the same seed share their training scenes and make a pair; the interval of the mean difference is
    Student's t over the pairs, so that it speaks of other runs, where :func:`greater` speaks of other images.
    Raises: InputError if no seed stands behind both.
    """
    ours, theirs = ({record.seeds: record for record in records} for records in (left, right))
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        raise InputError("no seed stands behind both models: train both with the same one")
    difference = mean_over_seeds(np.array([ours[seeds].value - theirs[seeds].value for seeds in both]))
    return Comparison(difference, verdict_on(difference, margin))
