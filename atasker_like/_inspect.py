"""Inspects functions, and other objects of the application, whatever their attributes do.

Mocks and proxies have attributes of every name, and reading one may raise any error. So an object
is recognised by its type. An attribute counts only if its value has the type that it has in the
standard library.
"""
from __future__ import annotations

import sys
from _thread import get_ident
from functools import WRAPPER_ASSIGNMENTS, lru_cache, partial
from threading import main_thread
from types import CodeType, FunctionType, MethodType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inspect import Signature
    from typing import Any, Callable, Iterable, Mapping


_CO_COROUTINE = 0x180       # inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE

#: The attributes that mark a coroutine function that is none by its code, and the values in them.
_MARKS = (("_is_coroutine_mark", "inspect", "_is_coroutine_mark"),
          ("_is_coroutine", "asyncio.coroutines", "_is_coroutine"))

#: Steps along ``__wrapped__``, at most. Of some objects it leads on without end.
_MOST_WRAPPED = 32


def attribute_of(thing: Any, name: str, kind: type | tuple[type, ...]) -> Any:
    """Return an attribute of any object; None if it is missing or of another type."""
    try:
        value = getattr(thing, name, None)
    except Exception:
        return None
    return value if issubclass(type(value), kind) else None


def has_method(thing: Any, name: str) -> bool:
    """Return True if the class of an object has a method, as Python looks up special methods."""
    return attribute_of(type(thing), name, object) is not None


def name_of(function: Any) -> str:
    """Return the name of a function for messages; that of the class, if a callable has none.

    It is the qualified name from the innermost function on: ``fetch`` and ``Account.add``, wherever
    they are defined.
    """
    name: str = attribute_of(function, "__qualname__", str) or qualname_of(type(function))
    return name.rpartition("<locals>.")[2]


def _code_of(function: Any) -> CodeType | None:
    """Return the code that a call of a function runs; None if it is not written in Python."""
    while issubclass(type(function), partial):
        function = function.func
    function = attribute_of(function, "__func__", FunctionType) or function
    call = attribute_of(type(function), "__call__", FunctionType)
    code: CodeType | None = (attribute_of(function, "__code__", CodeType)
                             or attribute_of(call, "__code__", CodeType))
    return code


def is_coroutine_function(function: Any) -> bool:
    """Return True if a call of a function returns a coroutine, without importing inspect."""
    while issubclass(type(function), partial):
        function = function.func
    if type(function) is FunctionType and not function.__dict__:    # most functions have no marks
        return bool(function.__code__.co_flags & _CO_COROUTINE)
    for candidate in (attribute_of(function, "__func__", FunctionType) or function,
                      attribute_of(type(function), "__call__", object)):
        code = attribute_of(candidate, "__code__", CodeType)
        if code is not None and code.co_flags & _CO_COROUTINE:
            return True
        for attribute, module, name in _MARKS:
            mark = getattr(sys.modules.get(module), name, None)
            if mark is not None and attribute_of(candidate, attribute, object) is mark:
                return True
    return False


_CO_GENERATOR, _CO_ITERABLE_COROUTINE, _CO_ASYNC_GENERATOR = 0x20, 0x100, 0x200     # of inspect


def generator_kind(function: Any) -> str | None:
    """Return ``"a generator"`` or ``"an async generator"`` if a call returns one, else None.

    A coroutine in the style of Python 3.3 (:func:`types.coroutine`, ``asyncio.coroutine``) is
    neither.
    """
    code = _code_of(function)
    if code is None:
        return None
    if code.co_flags & _CO_ASYNC_GENERATOR:
        return "an async generator"
    kind = code.co_flags & (_CO_GENERATOR | _CO_ITERABLE_COROUTINE)
    return "a generator" if kind == _CO_GENERATOR else None


# -- functions and their decorated forms -------------------------------------------------------


def copy_metadata(wrapper: Any, function: Any) -> None:
    """Give a wrapper the name, the documentation and the attributes of its function.

    With :func:`functools.update_wrapper`, an attribute of the function may hide one that the
    wrapper's class defines, and a proxy may raise.
    """
    own = wrapper.__dict__
    for name, value in (attribute_of(function, "__dict__", dict) or {}).items():
        if name not in WRAPPER_ASSIGNMENTS and not hasattr(type(wrapper), name):
            own[name] = value
    for name in WRAPPER_ASSIGNMENTS:
        try:
            setattr(wrapper, name, getattr(function, name))
        except Exception:           # it has none, or a proxy has one of an impossible type
            pass
    own["__wrapped__"] = function       # last: the function may be a wrapper, with one of its own


def lookup(module: str, qualname: str, steps: int = 0) -> Any:
    """Return the object with a name in a module, or one inside of it.

    :param steps: how often ``__wrapped__`` is followed.
    """
    __import__(module)
    found: Any = sys.modules[module]
    for part in qualname.split("."):
        found = getattr(found, part)
    for _ in range(steps):
        found = found.__wrapped__
    return found


def address_of(function: Any) -> tuple[str, str, int] | None:
    """Return the arguments of :func:`lookup` for a function; None if its name does not lead to it.

    The name of a function below decorators leads to its decorated form, which has the function
    inside.
    """
    module = attribute_of(function, "__module__", str)
    qualname = attribute_of(function, "__qualname__", str)
    if not module or not qualname:
        return None
    try:
        found = lookup(module, qualname)
    except Exception:
        return None
    for steps in range(_MOST_WRAPPED):
        if found is function:
            return module, qualname, steps
        found = attribute_of(found, "__wrapped__", object)
    return None


# -- errors, and errors and values as text -----------------------------------------------------
#
# An error's class may refuse any question with __getattribute__, and a class with its metaclass. So
# the descriptors of the base classes are called here. isinstance(error, kind) asks for __class__ if
# the answer is no: where the error may be the application's, it is issubclass(type(error), kind).

_of_errors, _of_classes = vars(BaseException), vars(type)

#: Returns the traceback of an error; None if it has none.
traceback_of: Callable[[BaseException], Any] = _of_errors["__traceback__"].__get__

#: Returns the error that was being handled when an error was raised; None if there was none.
context_of: Callable[[BaseException], Any] = _of_errors["__context__"].__get__

#: Sets the context of an error, or None.
set_context: Callable[[BaseException, Any], None] = _of_errors["__context__"].__set__

#: Returns the name of a class of the application.
class_name: Callable[[type], str] = _of_classes["__name__"].__get__

#: Returns the qualified name of a class of the application.
qualname_of: Callable[[type], str] = _of_classes["__qualname__"].__get__


def origin_of(error: BaseException) -> Any:
    """Return the cause of an error, or else its context; None if it has neither."""
    cause = _of_errors["__cause__"].__get__(error)
    return context_of(error) if cause is None else cause


def module_of(kind: type) -> str | None:
    """Return the name of the module of a class of the application; None if it has none."""
    try:
        module = _of_classes["__module__"].__get__(kind)
    except AttributeError:              # it has been deleted
        return None
    return module if issubclass(type(module), str) else None


def qualified_names(kind: type) -> list[str]:
    """Return the module and the name of a class and of each of its bases."""
    bases = _of_classes["__mro__"].__get__(kind)
    return [f"{module_of(base)}.{qualname_of(base)}" for base in bases]


def is_a(error: BaseException, kind: type) -> bool:
    """Return True if an error is one of a class of the application, as ``isinstance()`` does."""
    try:
        return isinstance(error, kind)
    except BaseException as raised:     # the error refuses to say its __class__
        if is_interrupt(raised):
            raise
        return issubclass(type(error), kind)


def text_of(error: BaseException) -> str:
    """Return the text of an error of the application; if ``str()`` raises, a text about that."""
    return _text(str, error, "its text cannot be shown: str()")


def shown(value: Any) -> str:
    """Return the ``repr()`` of an object of the application; if it raises, a text about that."""
    return _text(repr, value, f"{class_name(type(value))} that cannot be shown: repr()")


def described(error: BaseException) -> str:
    """Return the type and the text of an error, as the last line of a traceback has them."""
    return f"{class_name(type(error))}: {text_of(error)}"


def _text(make: Callable[[Any], str], thing: Any, failed: str) -> str:
    try:
        return "".join((make(thing), ""))       # a plain str, whatever subclass it is
    except BaseException as raised:
        if is_interrupt(raised):
            raise
        return f"<{failed} raised {class_name(type(raised))}>"


def is_interrupt(raised: BaseException) -> bool:
    """Return True for a Ctrl-C, and False for an error of the application's code."""
    return issubclass(type(raised), KeyboardInterrupt) and get_ident() == main_thread().ident


def traceback_text(error: BaseException, trace: Any) -> str:
    """Return an error with a traceback as text, as Python prints it."""
    from traceback import format_exception

    try:
        text = "".join(format_exception(type(error), error, trace))
    except BaseException as raised:     # the standard library catches most of these, but not all
        if is_interrupt(raised):
            raise
        text = plain_traceback(error, trace)
    return text.replace("__mp_main__.", "__main__.")


def plain_traceback(error: BaseException, trace: Any) -> str:
    """Return what can be shown of an error, whatever its class does."""
    from traceback import StackSummary, walk_tb

    # Without marks below the lines: a finalizer may not parse source on Python 3.11 (see _log).
    frames = StackSummary.extract(walk_tb(trace)).format()
    return "".join(["Traceback (most recent call last):\n", *frames, described(error), "\n"])


def type_name_of(error: BaseException) -> str:
    """Return the module and the name of the class of an error."""
    kind = type(error)
    module = module_of(kind)
    # In the processes that it starts, multiprocessing calls the main module __mp_main__.
    return f"{'__main__' if module == '__mp_main__' else module}.{qualname_of(kind)}"


def why_not_rebuilt(raised: BaseException) -> str:
    """Return why an error of another process could not be rebuilt here, and the remedy.

    :param raised: the exception of pickling or unpickling it.
    """
    from pickle import PicklingError

    if issubclass(type(raised), (ImportError, AttributeError, PicklingError)):
        advice = "define its class at the top level of a module that both processes can import"
    else:
        advice = ("have its __init__ pass all its arguments to super().__init__(), or define "
                  "__reduce__ for it")
    return f"{described(raised)}; {advice}"


# -- the arguments of a function ---------------------------------------------------------------


def signature_of(function: Callable[..., Any]) -> Signature | None:
    """Return the signature of a function, or None if it has none, or a proxy raises."""
    import inspect

    try:
        return inspect.signature(function)
    except Exception:
        return None


def accepted_keywords(signature: Signature | None, names: Iterable[str],
                      positional: int = 0) -> tuple[str, ...]:
    """Return the names that a function accepts as keywords, by name or by ``**kwargs``.

    A function without a signature accepts none.

    :param positional: the number of positional arguments that are given beside them.
    """
    if signature is None:
        return ()
    keywords, occupied, anything = _keywords_of(signature, positional)
    return tuple(name for name in names if name in keywords or (anything and name not in occupied))


def _keywords_of(signature: Signature, positional: int) -> tuple[set[str], set[str], bool]:
    """Return the parameters that a keyword may fill, and those that an argument has filled.

    Return also True if any other keyword is accepted.

    :param positional: the number of positional arguments.
    """
    filled = 0
    keywords: set[str] = set()
    occupied: set[str] = set()
    anything = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            anything = True
        elif parameter.kind is parameter.KEYWORD_ONLY:
            keywords.add(parameter.name)
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            filled += 1
            if parameter.kind is parameter.POSITIONAL_ONLY:
                continue
            if filled <= positional:
                occupied.add(parameter.name)
            else:
                keywords.add(parameter.name)
    return keywords, occupied, anything


def open_parameters(function: Any, positional: int) -> frozenset[str]:
    """Return the names of the parameters of a function that a keyword may fill.

    ``**kwargs`` has no names, and a partial has filled some. A function without a signature has
    none.

    :param positional: the number of positional arguments that are given beside them.
    """
    filled: set[str] = set()
    while issubclass(type(function), partial):
        filled.update(function.keywords)
        positional += len(function.args)
        function = function.func
    signature = signature_of(function)
    if signature is None:
        return frozenset()
    return frozenset(_keywords_of(signature, positional)[0]) - filled


def accepts_keyword(function: Callable[..., Any], name: str) -> bool:
    """Return True if a function accepts a keyword."""
    return bool(accepted_keywords(signature_of(function), (name,)))


def signature_error(signature: Signature | None, args: tuple[Any, ...],
                    kwargs: dict[str, Any]) -> str | None:
    """Return why a function cannot be called with these arguments.

    Return None if it can, or if it has no signature.
    """
    if signature is None:
        return None
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    return None


def wants_task_id(function: Any, named_only: bool = False, of_any_kind: bool = False) -> bool:
    """Return True if a function is to get the id of its task, as the keyword ``_task_id``.

    A function that names it gets it. So does a plain function with ``**kwargs`` of its own. For the
    ``**kwargs`` of a decorator, the function inside decides.

    :param named_only: ``**kwargs`` does not count.
    :param of_any_kind: ``**kwargs`` counts for methods, partials and callable objects, too.
    """
    return _wants(function, "_task_id", named_only, of_any_kind)


def names_keyword(function: Any, name: str) -> bool:
    """Return True if a keyword fills a parameter of a function; ``**kwargs`` does not count."""
    return _wants(function, name, True)


def call_on_error(on_error: Callable[..., Any], keywords: Mapping[str, Any]) -> None:
    """Call ``on_error`` for the exception that is being handled.

    It gets the exception as ``e``, if it names that and the keywords do not have it.
    """
    if "e" not in keywords and names_keyword(on_error, "e"):
        keywords = dict(keywords, e=sys.exc_info()[1])
    on_error(**keywords)


def _wants(function: Any, name: str, named_only: bool, of_any_kind: bool = False) -> bool:
    plain = of_any_kind or type(function) is FunctionType
    while True:
        if issubclass(type(function), partial):
            if name in function.keywords:
                return False
            inner: Any = function.func
        elif type(function) is MethodType:
            inner = function.__func__
        elif type(function) is FunctionType:
            inner = function.__dict__.get("__wrapped__")
        elif type(function) is _LruCache:
            inner = getattr(function, "__wrapped__")
        else:
            inner = None
        named, anything = _keyword(function, name)
        if inner is None:
            return named or (anything and plain and not named_only)
        if type(function) is FunctionType and not (named or anything):
            return False        # a decorator that would not pass it on
        function = inner


def _keyword(function: Any, name: str) -> tuple[bool, bool]:
    """Return two flags: the function names the keyword; it accepts any keyword."""
    if issubclass(type(function), type):
        return False, False
    code = function.__code__ if type(function) is FunctionType else attribute_of(
        attribute_of(type(function), "__call__", FunctionType), "__code__", CodeType)
    if code is None:
        return False, False
    first = getattr(code, "co_posonlyargcount", 0)
    keywords = code.co_varnames[first:code.co_argcount + code.co_kwonlyargcount]
    return name in keywords, bool(code.co_flags & _CO_VARKEYWORDS)


_CO_VARKEYWORDS = 0x08          # of inspect

_LruCache: type = type(lru_cache(maxsize=1)(abs))


class _Names(dict):     # type: ignore[type-arg]
    """The globals of a function for typing.get_type_hints(), with the names of its annotations."""

    def __missing__(self, name: str) -> Any:
        from ._hints import names_of

        return names_of(self["__name__"])[name]

    def keys(self) -> Any:      # of a copy
        from ._hints import names_of

        self.update(names_of(self["__name__"]))
        return super().keys()

    __iter__ = None     # type: ignore[assignment]  # so that dict() calls keys()


#: The classes whose methods have such globals, and the globals by module.
_named: set[type] = set()
_PACKAGE = __name__.partition(".")[0] + "."
_names: dict[str, _Names] = {}


def add_names(thing: Any) -> None:
    """Let typing.get_type_hints() find the names of annotations that type checkers import.

    :param thing: a function of this package, or a class with methods. Others are left alone.
    """
    if type(thing) is FunctionType:
        _add_names(thing)
    elif isinstance(thing, type):
        for kind in thing.__mro__:
            if kind not in _named and kind.__module__.startswith(_PACKAGE):
                _named.add(kind)
                for member in list(vars(kind).values()):
                    if type(member) in (classmethod, staticmethod):
                        member = member.__func__
                    if type(member) is FunctionType and member.__annotations__:
                        _add_names(member)


def _add_names(function: Any) -> None:
    # typing takes the globals of the innermost __wrapped__.
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    module = function.__globals__["__name__"]
    names = _names.get(module)
    if names is None:
        names = _names[module] = _Names(function.__globals__)
        for variable in ("P", "T_co"):      # None at run time, see _generics.py
            names.pop(variable, None)
    twin = type(function)(function.__code__, names, function.__name__,
                          function.__defaults__, function.__closure__)
    for name in ("__kwdefaults__", "__annotations__", "__doc__", "__qualname__"):
        setattr(twin, name, getattr(function, name))
    function.__wrapped__ = twin
