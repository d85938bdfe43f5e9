"""How tensors come into a model: all of them, none more, each of the right shape."""

from collections.abc import Mapping

from torch import Tensor, nn

from wbcore.errors import InputError


def load_strictly(
    model: nn.Module, state: Mapping[str, Tensor], *, source: str, names: Mapping[str, str] | None = None
) -> None:
    """Copy ``state`` into ``model``; every tensor must be there, none more, each of the right shape.

    ``names`` maps our name of a tensor to its name in ``state``, where the two differ; errors speak in the latter.
    Another floating-point type is converted to the model's.
    Raises: InputError naming ``source`` and the first tensor that does not fit.
    """
    ours = model.state_dict()
    theirs = {name: (names or {}).get(name, name) for name in ours}
    if missing := sorted(set(theirs.values()) - set(state)):
        raise InputError(f"{source} lacks {missing[0]} ({len(missing)} missing): it holds another architecture")
    if extra := sorted(set(state) - set(theirs.values())):
        raise InputError(f"{source} has an unknown tensor {extra[0]} ({len(extra)} in all): another architecture")
    for name, tensor in ours.items():
        given = state[theirs[name]]
        if given.shape != tensor.shape:
            raise InputError(
                f"{source}: {theirs[name]} has shape {tuple(given.shape)}, the model needs {tuple(tensor.shape)}: "
                "build the model with the configuration that the weights were made for"
            )
    model.load_state_dict({name: state[theirs[name]].to(tensor.dtype) for name, tensor in ours.items()})
