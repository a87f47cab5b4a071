"""Prepare calls for submission: merge options, iterate over items, wrap functions."""
from __future__ import annotations

import threading
from collections import abc, deque
from itertools import islice
from weakref import WeakValueDictionary

from .._checks import a_kind, nearest
from .._inspect import (accepts_keyword, copy_metadata, has_method, is_coroutine_function, name_of,
                        names_keyword)
from ..engine.initializers import call_initializer
from ..engine.spec import undecorated
from ..errors import InvalidTypeError
from ..options import TaskOptions, unknown_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, Mapping, MutableMapping

    from .item_keys import ItemKeys

    Call = Any      # a tuple of positional arguments, or a dict of keywords


#: The default priority of a task of a queue. Lower runs first.
DEFAULT_PRIORITY = 3

PLAIN = TaskOptions()

#: The ways out for :func:`check_names`, if the keywords of a call are options.
OF_A_CALL = ("give the option as opts=TaskOptions({0}=...), and the parameter with "
             "functools.partial(function, {0}=...)")

#: The most calls that are submitted together.
CHUNK = 512

_NAMES = frozenset(TaskOptions.__slots__)


def merge(options: TaskOptions | None, changes: Mapping[str, Any], where: str,
          function: Any = None) -> TaskOptions:
    """Return options with some of them changed.

    :param function: the function of the calls, whose parameters may have been meant.
    :raises InvalidTypeError: (a TypeError) ``options`` is no TaskOptions, or an option does not
        exist.
    """
    if options is None:
        options = PLAIN
    elif not isinstance(options, TaskOptions):
        raise InvalidTypeError(f"opts takes TaskOptions, not {type(options).__name__}")
    for name in changes:
        if name not in _NAMES:
            raise unknown_keyword(name, [*_NAMES, "opts"], where, function)
    return options.replace(**changes)


def unknown_keyword(name: str, known: Iterable[str], where: str,
                    function: Any) -> InvalidTypeError:
    """Return the error for a keyword that is no option.

    :param function: the function of the calls, whose parameter may be meant; or None.
    """
    function = undecorated(function)
    if function is None or not accepts_keyword(function, name):
        return unknown_option(name, known, where)
    if nearest(name, known, "") and not names_keyword(function, name):
        return unknown_option(name, known, where)       # the function has **kwargs only
    called = name_of(function)
    return InvalidTypeError(f"{where} has no option {name!r}, but {called} has a parameter of that "
                            f"name: pass functools.partial({called}, {name}=...) instead of "
                            f"{called}")


def check_names(function: Any, own: frozenset[str], names: Iterable[str], ways_out: str) -> None:
    """Refuse keywords of a single call that are both options and parameters of the function.

    :param own: the parameters that the call may name, see :func:`open_parameters`.
    :param ways_out: how to give either of them, with ``{0}`` for the name.
    """
    both = sorted(own.intersection(names))
    if both:
        raise InvalidTypeError(f"{both[0]}= is an option of the task, and {name_of(function)} has "
                               f"a parameter of that name, too; {ways_out.format(both[0])}")


def is_async_iterable(items: Any) -> bool:
    """Return True if only ``async for`` can iterate over an object."""
    return has_method(items, "__aiter__") and not has_method(items, "__iter__")


class Keyed:
    """A call, with the digest of the key by which a checkpoint knows it."""

    __slots__ = ("call", "key")

    def __init__(self, call: Call, key: bytes) -> None:
        self.call: Call = call
        self.key: bytes = key


def iter_calls(items: Iterable[Any], what: str, keys: ItemKeys | None = None,
               first: int = 0, most: int = 0) -> Iterable[list[Call]]:
    """Return the calls of items, in lists of calls that are submitted together.

    A call is a tuple of positional arguments or a dict of keywords. A tuple is taken for the
    former, a mapping for the latter; any other item is the only argument. With keys, the calls are
    :class:`Keyed`.

    :param first: the position of the first item, for messages.
    :param most: the number of calls in a list, at most (default: 512).
    :return: a list if all items are there, else an iterator.
    """
    if isinstance(items, (str, bytes)) or not isinstance(items, abc.Iterable):
        advice = "; map() of an AsyncQueue takes it" if is_async_iterable(items) else ""
        raise InvalidTypeError(f"{what} takes an iterable of items, not {a_kind(items)}{advice}")
    calls = (_iter_calls(iter(items), abc.Mapping, min(most or CHUNK, CHUNK)) if keys is None
             else _iter_keyed_calls(enumerate(items, first), abc.Mapping, keys))
    # No code of the application comes between the submissions of a collection: see _submit_all().
    return list(calls) if isinstance(items, abc.Sized) else calls


def _iter_keyed_calls(items: Iterable[tuple[int, Any]], mapping: Any,
                      keys: ItemKeys) -> Iterator[list[Call]]:
    for position, item in items:
        key = keys.key_of(item, position)
        for [call] in _iter_calls(iter((item,)), mapping, 1):
            yield [Keyed(call, key)]


def _iter_calls(items: Iterator[Any], mapping: Any, most: int) -> Iterator[list[Call]]:
    while True:
        chunk = list(islice(items, most))
        if not chunk:
            return
        # Most often all items are of one kind. Checking each of them would cost more than
        # submitting them.
        kinds = set(map(type, chunk))
        if not any(issubclass(kind, (tuple, mapping)) for kind in kinds):
            yield list(zip(chunk))
        elif kinds == {tuple}:
            yield chunk
        else:
            yield [tuple(item) if isinstance(item, tuple) else dict(item)
                   if isinstance(item, mapping) else (item,)
                   for item in chunk]


class InitializerState(threading.local):
    """True in ``called`` once the initializer of a queue has been called in this thread.

    A pool process runs all tasks in one thread. The state is gone with the queue. In a pool
    process, it is gone when no function of the queue is kept there and many other queues have
    followed.
    """

    called = False

    def __init__(self, key: str) -> None:
        self.key = key

    def __reduce__(self) -> tuple[Any, ...]:
        return _initializer_state_of, (self.key,)


#: In a pool process, the states of the queues whose functions it keeps, and of the last queues.
#: Shared without a lock: a pool process runs tasks in one thread only. In a process of an executor,
#: an initializer may be called once more.
_known: MutableMapping[str, InitializerState] = WeakValueDictionary()
_last: deque[InitializerState] = deque(maxlen=256)


def _initializer_state_of(key: str) -> InitializerState:
    ready = _known.get(key)
    if ready is None:
        ready = _known[key] = InitializerState(key)
    _last.append(ready)
    return ready


class InitializedCall:
    """A function that calls an initializer first. It can be pickled if both can.

    All queues share the threads and processes of a pool, so these cannot be started with the
    initializer of one queue.
    """

    def __init__(self, function: Callable[..., Any], initializer: Callable[..., Any],
                 initargs: tuple[Any, ...],
                 ready: InitializerState) -> None:
        copy_identity(self, function)
        # After the copy, as a callable object may have attributes of the same names.
        self.initializer = initializer
        self.initargs = initargs
        self.ready = ready

    if TYPE_CHECKING:
        __wrapped__: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.ready.called:
            call_initializer(self.initializer, self.initargs)
            self.ready.called = True
        return self.__wrapped__(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return InitializedCall, (self.__wrapped__, self.initializer, self.initargs, self.ready)


def copy_identity(wrapper: Any, function: Any) -> None:
    """Give a wrapper the name and attributes of its function.

    The name of a partial, or of another callable object, is that of its class.
    """
    copy_metadata(wrapper, function)
    wrapper.__qualname__ = name_of(function)


def report_errors(function: Callable[..., Any],
                  fails: Callable[[BaseException], None]) -> Callable[..., Any]:
    """Return a function that reports its error before its task ends.

    The pool starts the next task in the step in which the failed one ends.
    """
    if is_coroutine_function(function):
        async def watched(*args: Any, **kwargs: Any) -> Any:
            try:
                return await function(*args, **kwargs)
            except BaseException as error:
                fails(error)
                raise
    else:
        def watched(*args: Any, **kwargs: Any) -> Any:    # type: ignore[misc]
            try:
                return function(*args, **kwargs)
            except BaseException as error:
                fails(error)
                raise
    copy_identity(watched, function)
    return watched
