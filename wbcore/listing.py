"""Library code as a notebook shows it beside an equation."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any


def listing(*functions: Callable[..., Any]) -> str:
    """The source of functions without decorators and docstrings, which say in words what the text beside them says."""
    return "\n\n".join(_without_docstring(function) for function in functions)


def _without_docstring(function: Callable[..., Any]) -> str:
    source = textwrap.dedent(inspect.getsource(function))
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.FunctionDef)
    lines = source.splitlines()
    if ast.get_docstring(definition) is not None:
        docstring = definition.body[0]
        del lines[docstring.lineno - 1 : docstring.end_lineno]
    return "\n".join(lines[definition.lineno - 1 :])
