"""The names that a module imports and defines for type checkers only, at run time.

:func:`typing.get_type_hints` needs them to evaluate the annotations of a function. They are
executed when it asks for the first of them: most programs never do.
"""
from __future__ import annotations

import ast
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import resolve_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


_known: dict[str, dict[str, Any]] = {}

_VARIABLES: dict[str, Callable[[str], Any]] = {
    "P": lambda name: getattr(import_module("typing"), "ParamSpec")(name),
    "T_co": lambda name: import_module("typing").TypeVar(name, covariant=True)}


def names_of(module_name: str) -> dict[str, Any]:
    """Return the names of a module, with those that only type checkers see."""
    names = _known.get(module_name)
    if names is None:
        module = import_module(module_name)
        names = _known[module_name] = dict(vars(module))    # before the rest: imports may circle
        source = module.__loader__.get_source(module_name)  # type: ignore[union-attr]
        for node in ast.parse(source).body:
            if (isinstance(node, ast.If) and isinstance(node.test, ast.Name)
                    and node.test.id == "TYPE_CHECKING"):
                for statement in node.body:
                    _execute(statement, names, str(module.__package__))
        for name, make in _VARIABLES.items():
            if name in names:       # None at run time, see _generics.py
                names[name] = make(name)
    return names


def _execute(statement: ast.stmt, names: dict[str, Any], package: str) -> None:
    # A form that this version of typing does not have raises: names that need it stay unknown.
    if isinstance(statement, ast.ImportFrom):
        home = resolve_name("." * statement.level + (statement.module or ""), package)
        for alias in statement.names:
            with suppress(Exception):
                names[alias.asname or alias.name] = _imported(home, alias.name)
    else:
        with suppress(Exception):
            exec(compile(ast.Module([statement], []), "<types>", "exec"), names)


def _imported(home: str, name: str) -> Any:
    if home == "typing_extensions":     # which need not be installed
        return getattr(sys.modules.get(home), name, None) or getattr(import_module("typing"), name)
    if home.startswith(__name__.partition(".")[0]):
        return names_of(home)[name]
    return getattr(import_module(home), name)
