"""From what a caller writes to what is submitted: options merged, items taken apart, functions wrapped."""
from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from weakref import WeakValueDictionary

from .._inspect import copy_metadata, described, has_method, is_coroutine_function, name_of, shown
from ..errors import InvalidArgumentError, InvalidTypeError
from ..options import TaskOptions, unknown_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, Mapping, MutableMapping

    Call = Any      # a tuple of positional arguments, or a dict of keywords

__all__ = ["DEFAULT_PRIORITY", "Keyed", "PLAIN", "InitializedCall", "InitializerState", "iter_calls", "check_names", "is_async_iterable", "merge", "report_errors"]

#: The priority of a task of a queue, unless told. Lower runs first.
DEFAULT_PRIORITY = 3

PLAIN = TaskOptions()
#: Calls that are submitted together, at most.
CHUNK = 512

_NAMES = frozenset(TaskOptions.__slots__)


def merge(options: TaskOptions | None, changes: Mapping[str, Any], where: str) -> TaskOptions:
    """Return options with some of them changed: the only place where keywords meet ``opts=``.

    :raises InvalidTypeError: (a TypeError) no TaskOptions, or an option that does not exist.
    """
    if options is None:
        options = PLAIN
    elif not isinstance(options, TaskOptions):
        raise InvalidTypeError(f"opts takes TaskOptions, not {type(options).__name__}")
    for name in changes:
        if name not in _NAMES:
            raise unknown_option(name, [*_NAMES, "opts"], where)
    return options.replace(**changes)


def check_names(function: Any, own: frozenset[str], names: Iterable[str], ways_out: str) -> None:
    """Refuse keywords of a single call that are options and parameters of the function at once.

    :param own: the parameters that the call may name, see :func:`open_parameters`.
    :param ways_out: how to give either, with ``{0}`` for the name.
    """
    both = sorted(own.intersection(names))
    if both:
        raise InvalidTypeError(f"{both[0]}= is an option of the task, and {name_of(function)} has a parameter of that "
                               f"name, too; {ways_out.format(both[0])}")


def is_async_iterable(items: Any) -> bool:
    """Return True of what can be iterated over with ``async for`` only."""
    return has_method(items, "__aiter__") and not has_method(items, "__iter__")


class Keyed:
    """A call with what a checkpoint is to know it by."""

    __slots__ = ("call", "key")

    def __init__(self, call: Call, key: Any) -> None:
        self.call = call
        self.key = key


def iter_calls(items: Iterable[Any], what: str, key: Callable[[Any], Any] | None = None,
             first: int = 0) -> Iterator[list[Call]]:
    """Turn items into calls, as many at a time as are submitted together; with a key function, into :class:`Keyed` ones.

    A call is a tuple of positional arguments or a dict of keywords. A tuple is taken for the one, a mapping for the other,
    and anything else is the only argument.

    :param first: the position of the first item, for messages.
    """
    from collections import abc

    if isinstance(items, (str, bytes)) or not isinstance(items, abc.Iterable):
        advice = "; map() of an AsyncQueue takes it" if is_async_iterable(items) else ""
        raise InvalidTypeError(f"{what} takes an iterable of items, not {type(items).__name__}{advice}")
    if key is not None:
        return _iter_keyed_calls(enumerate(items, first), abc.Mapping, key)
    return _iter_calls(iter(items), abc.Mapping)


def _iter_keyed_calls(items: Iterable[tuple[int, Any]], mapping: Any,
                    key: Callable[[Any], Any]) -> Iterator[list[Call]]:
    for position, item in items:
        try:
            known_by = key(item)
        except Exception as error:
            raise InvalidArgumentError(f"key= raised {described(error)} for item {position}, {shown(item)}; it is called with "
                                       "each item and returns what a checkpoint knows the item by") from error
        try:
            hash(known_by)
        except Exception:       # whatever the object's __hash__ raises
            raise InvalidTypeError(f"key= returned {shown(known_by)} for item {position}, which cannot be hashed; "
                                   "return a string, a number, or a tuple of these") from None
        for [call] in _iter_calls(iter((item,)), mapping):
            yield [Keyed(call, known_by)]


def _iter_calls(items: Iterator[Any], mapping: Any) -> Iterator[list[Call]]:
    while True:
        chunk = list(islice(items, CHUNK))
        if not chunk:
            return
        # Most often all are of one kind: looking at each of a hundred thousand would cost more than submitting them.
        kinds = set(map(type, chunk))
        if not any(issubclass(kind, (tuple, mapping)) for kind in kinds):
            yield list(zip(chunk))
        elif kinds == {tuple}:
            yield chunk
        else:
            yield [tuple(item) if isinstance(item, tuple) else dict(item) if isinstance(item, mapping) else (item,)
                   for item in chunk]


class InitializerState(threading.local):
    """Whether the initializer of a queue has been called: in this thread, which in a pool process runs all tasks. That is
    forgotten with the queue; in another process, when nothing of the queue is kept there, and many others have followed."""

    called = False

    def __init__(self, key: str) -> None:
        self.key = key

    def __reduce__(self) -> tuple[Any, ...]:
        return _initializer_state_of, (self.key,)


#: What this process knows of the queues of others: those whose functions it keeps, and the last ones in any case. Shared
#: without a lock: a pool process runs tasks in one thread only, and in an executor's an initializer may be called once more.
_known: MutableMapping[str, InitializerState] = WeakValueDictionary()
_last: deque[InitializerState] = deque(maxlen=256)


def _initializer_state_of(key: str) -> InitializerState:
    ready = _known.get(key)
    if ready is None:
        ready = _known[key] = InitializerState(key)
    _last.append(ready)
    return ready


class InitializedCall:
    """A function with an initializer in front; it can be pickled if both can.

    A pool's threads and processes are shared by all queues, so that they cannot be started with the initializer of one.
    """

    def __init__(self, function: Callable[..., Any], initializer: Callable[..., Any], initargs: tuple[Any, ...],
                 ready: InitializerState) -> None:
        copy_identity(self, function)
        # After what has been copied: an object that can be called may have attributes of the same names.
        self.initializer = initializer
        self.initargs = initargs
        self.ready = ready

    if TYPE_CHECKING:
        __wrapped__: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.ready.called:
            self.initializer(*self.initargs)
            self.ready.called = True
        return self.__wrapped__(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return InitializedCall, (self.__wrapped__, self.initializer, self.initargs, self.ready)


def copy_identity(wrapper: Any, function: Any) -> None:
    """Make a wrapper pass for its function, by name, too: that of a partial, or another object, is its class's."""
    copy_metadata(wrapper, function)
    wrapper.__qualname__ = name_of(function)


def report_errors(function: Callable[..., Any], fails: Callable[[BaseException], None]) -> Callable[..., Any]:
    """Return a function that tells of an error before the pool knows of it: there the next task is started in the same
    step in which a failed one ends."""
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
