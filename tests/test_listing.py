"""Library code without its docstrings: what is left still is that code."""

import ast
import functools

from wbcore.listing import listing
from wbcore.models import token_pass
from wbcore.models.dovit import DoViT


def plain(value):
    return value + 1  # why


@functools.cache
def documented(value):
    """In words.

    Over several lines.
    """
    # a reason
    return value - 1


def test_only_decorators_and_docstrings_go():
    assert listing(plain) == "def plain(value):\n    return value + 1  # why"
    assert listing(documented.__wrapped__) == "def documented(value):\n    # a reason\n    return value - 1"
    assert listing(plain, documented.__wrapped__).count("\n\ndef documented") == 1


def test_library_functions_and_methods():
    for function in (token_pass.confidence, token_pass.Split.gather, DoViT.forward):
        shown = ast.parse(listing(function)).body[0]
        assert isinstance(shown, ast.FunctionDef)
        assert shown.name == function.__name__
        assert ast.get_docstring(shown) is None
        assert len(shown.body) >= 1
