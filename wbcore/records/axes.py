"""Records along an axis: layers, epochs, noise."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from wbcore.metrics.intervals import Interval
from wbcore.records.comparison import kept
from wbcore.records.names import step_of
from wbcore.records.record import Record, over_seeds, select


def along(records: Sequence[Record], models: Mapping[int, str], *, data: str, metric: str) -> dict[int, Record]:
    """What was measured at each place of an axis (layers, epochs, noise): the record of ``models[place]``.

    Several seeds become one record; a place without a record is passed over.  ``metric`` may hold a ``*``, as for
    ``attention_miou/mass60/layer*``, where a model's records have one such metric only.

    Raises: InputError if they have several.
    """
    known = [record for record in select(records, data=data) if fnmatchcase(record.metric, metric)]
    found = {place: select(known, model=name) for place, name in models.items()}
    return {place: over_seeds(seeds) for place, seeds in found.items() if seeds}


def by_step(records: Sequence[Record], step: str, *, data: str, metric: str) -> dict[str, dict[int, Interval]]:
    """A metric over the steps (``layer`` or ``epoch``) of every model, in percent: a curve for each model.

    A model that was measured as a whole is a level line; ``metric`` is that of :func:`along`.
    """
    records = select(records, data=data)
    steps = [step_of(record.model) for record in records]
    numbers = sorted({number for _, kind, number in steps if kind == step})
    stepped = {model: {n: f"{model}_{step}{n}" for n in numbers} for model, kind, _ in steps if kind == step}
    level = {model: dict.fromkeys(numbers, model) for model, kind, _ in steps if not kind and model not in stepped}
    names = stepped | level
    found = {model: along(records, places, data=data, metric=metric) for model, places in names.items()}
    return {
        name: {number: one.interval.percent() for number, one in places.items()}
        for name, places in found.items()
        if places
    }


def by_noise(
    records: Sequence[Record],
    models: Sequence[str],
    ending: str,
    levels: Sequence[int],
    *,
    data: str,
    metric: str,
    blind: Sequence[str] = (),
    own: bool = False,
) -> dict[str, dict[int, Interval]]:
    """A metric over levels of noise, in percent: a curve for each model, from its clean value at level 0.

    ``ending`` is that of a noisy subject's name, with ``{}`` for the level, as in ``_sigma{}_share50``.  ``blind`` are
    baselines that do not look and so were measured once: level lines.  ``own`` shows what is kept of the model's own
    clean value.
    """
    found = {}
    for model in (*models, *blind):
        names = {0: model, **{level: model + ("" if model in blind else ending.format(level)) for level in levels}}
        curve = along(records, names, data=data, metric=metric)
        if 0 in curve:
            found[model] = {
                level: (kept(one, curve[0]) if own else one.interval).percent() for level, one in curve.items()
            }
    return found
