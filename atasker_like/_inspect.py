"""What a function can be called with, and whether calling it gives a coroutine."""
from __future__ import annotations

from functools import partial
from types import CodeType, MethodType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable

__all__ = ["generator_kind", "is_coroutine_function", "misfit", "takes", "taken_of"]

_CO_COROUTINE = 0x180       # inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE


def is_coroutine_function(function: Any) -> bool:
    """Say whether calling a function gives a coroutine; without importing inspect or asyncio."""
    while hasattr(function, "func") and not hasattr(function, "__code__"):
        function = function.func        # functools.partial
    for candidate in (getattr(function, "__func__", function), getattr(type(function), "__call__", None)):
        code = getattr(candidate, "__code__", None)
        if code is not None and code.co_flags & _CO_COROUTINE:
            return True
        if getattr(candidate, "_is_coroutine_mark", None) is not None:
            return True
    return False


_CO_GENERATOR, _CO_ITERABLE_COROUTINE, _CO_ASYNC_GENERATOR = 0x20, 0x100, 0x200     # of inspect


def generator_kind(function: Any) -> str | None:
    """Return ``"a generator"`` or ``"an async generator"`` if a call of the function returns one, else None.

    A coroutine in the style of Python 3.3 (:func:`types.coroutine`, ``asyncio.coroutine``) is neither.
    """
    while isinstance(function, partial):
        function = function.func
    if isinstance(function, MethodType):
        function = function.__func__
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)
        if not isinstance(code, CodeType):
            return None
    if code.co_flags & _CO_ASYNC_GENERATOR:
        return "an async generator"
    return "a generator" if code.co_flags & (_CO_GENERATOR | _CO_ITERABLE_COROUTINE) == _CO_GENERATOR else None


def taken_of(function: Callable[..., Any], names: Iterable[str], positional: int = 0) -> tuple[str, ...]:
    """Return which of some names a function takes as keywords, by name or as any keyword, when so many positional
    arguments are given beside them. A function that does not show its signature takes none."""
    import inspect

    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return ()
    filled = 0
    keywords = set()
    anything = False
    occupied = set()
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            anything = True
        elif parameter.kind is parameter.KEYWORD_ONLY:
            keywords.add(parameter.name)
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            filled += 1
            if filled <= positional:
                if parameter.kind is not parameter.POSITIONAL_ONLY:
                    occupied.add(parameter.name)
            elif parameter.kind is not parameter.POSITIONAL_ONLY:
                keywords.add(parameter.name)
    return tuple(name for name in names if name in keywords or (anything and name not in occupied))


def takes(function: Callable[..., Any], name: str) -> bool:
    """Say whether a function takes a keyword."""
    return bool(taken_of(function, (name,)))


def misfit(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Return why a function cannot be called with these arguments, or None when it can, or does not show it."""
    import inspect

    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    return None


def takes_task_id(function: Any) -> bool:
    """Say whether a function can be called with a keyword ``_task_id``."""
    return takes_keyword(function, "_task_id")


def takes_keyword(function: Any, name: str) -> bool:
    """Say whether a function can be called with a keyword of a name: it names it, or takes any keyword.

    Looks at the code object, as :func:`inspect.signature` would, without the price of importing inspect.
    """
    for _ in range(32):
        wrapped = getattr(function, "__wrapped__", None) or getattr(function, "func", None)
        if wrapped is None or not callable(wrapped):
            break
        function = wrapped
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        if isinstance(function, type) or not hasattr(type(function), "__call__"):
            return False
        code = getattr(type(function).__call__, "__code__", None)
        if code is None:
            return False
    positional = code.co_varnames[getattr(code, "co_posonlyargcount", 0):code.co_argcount]
    keyword_only = code.co_varnames[code.co_argcount:code.co_argcount + code.co_kwonlyargcount]
    return name in positional + keyword_only or bool(code.co_flags & _TAKES_ANY_KEYWORD)


_TAKES_ANY_KEYWORD = 0x08       # inspect.CO_VARKEYWORDS
