"""The decorator that makes a worker of a function."""
from __future__ import annotations

from functools import partial

from .. import _modes
from .._checks import a_kind, ends_traceback, flag, not_a_function
from .._inspect import attribute_of, is_coroutine_function, name_of
from .._log import log
from ..engine.spec import undecorated
from ..errors import InvalidTypeError
from ..options import unknown_option
from .base import COMMON_OPTIONS, BackgroundWorker
from .kinds import (BackgroundAsyncWorker, BackgroundEventWorker, BackgroundIntervalWorker,
                    BackgroundQueueWorker)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Any, Callable, Coroutine, Iterable, Protocol, Unpack, overload

    from .._generics import P, R
    from .signatures import EventOptions, IntervalOptions, QueueOptions, WorkerOptions

    class MakesWorker(Protocol):
        """The decorator that ``background_worker(**options)`` returns."""

        @overload
        def __call__(self, function: Callable[P, Coroutine[Any, Any, R]],
                     /) -> BackgroundAsyncWorker[P, Coroutine[Any, Any, R]]: ...

        @overload
        def __call__(self, function: Callable[P, R], /) -> BackgroundWorker[P, R]: ...


if TYPE_CHECKING:
    @overload
    def background_worker(f: None = None, **options: Unpack[WorkerOptions]) -> MakesWorker: ...

    @overload
    def background_worker(
        f: None = None, **options: Unpack[QueueOptions],
    ) -> Callable[[Callable[P, R]], BackgroundQueueWorker[P, R]]: ...

    @overload
    def background_worker(
        f: None = None, **options: Unpack[EventOptions],
    ) -> Callable[[Callable[P, R]], BackgroundEventWorker[P, R]]: ...

    @overload
    def background_worker(
        f: None = None, **options: Unpack[IntervalOptions],
    ) -> Callable[[Callable[P, R]], BackgroundIntervalWorker[P, R]]: ...

    @overload
    def background_worker(      # type: ignore[overload-overlap]
        f: Callable[P, Coroutine[Any, Any, R]], **options: Unpack[WorkerOptions],
    ) -> BackgroundAsyncWorker[P, Coroutine[Any, Any, R]]: ...

    @overload
    def background_worker(f: Callable[P, R],
                          **options: Unpack[WorkerOptions]) -> BackgroundWorker[P, R]: ...

    @overload
    def background_worker(f: Callable[P, R],
                          **options: Unpack[QueueOptions]) -> BackgroundQueueWorker[P, R]: ...

    @overload
    def background_worker(f: Callable[P, R],
                          **options: Unpack[EventOptions]) -> BackgroundEventWorker[P, R]: ...

    @overload
    def background_worker(f: Callable[P, R],
                          **options: Unpack[IntervalOptions]) -> BackgroundIntervalWorker[P, R]: ...


@ends_traceback
def background_worker(f: Any = None, **options: Any) -> Any:
    """Make a worker of a function.

    This is a decorator, with or without parentheses; an ordinary call does as well.

    ``q=`` or ``queue=`` makes a :class:`BackgroundQueueWorker`; ``e=True`` or ``event=True`` a
    :class:`BackgroundEventWorker`; ``interval=``, ``delay=``, ``delay_before=`` or ``i=True`` a
    :class:`BackgroundIntervalWorker`. Otherwise a coroutine function makes a
    :class:`BackgroundAsyncWorker`, and a plain function a :class:`BackgroundWorker`. Any thread may
    call this.

    :param f: a function or coroutine function (default: None, returns a decorator).
    :param options: the options of these classes.
    :raises InvalidTypeError: (a TypeError) not a function, or an unknown option, or a value of a
        wrong type.
    :raises InvalidArgumentError: (a ValueError) an impossible value.

    >>> @background_worker
    ... def work(items):
    ...     return bool(items.pop())
    >>> work.start([0, 1, 1]), work.wait_until_stop(), work.stats().runs
    (True, True, 3)
    """
    if f is None:
        _check_names(options)
        return partial(background_worker, **options)
    f = undecorated(f)
    if issubclass(type(f), (staticmethod, classmethod)):
        raise InvalidTypeError(f"background_worker takes a function, not {a_kind(f)}; derive a "
                               "class from BackgroundWorker, and define run() in it")
    if not callable(f) or issubclass(type(f), BackgroundWorker):
        raise not_a_function("background_worker", f)
    if issubclass(type(f), type) and not _modes.legacy:
        raise InvalidTypeError(f"background_worker takes a function, not the class {name_of(f)}: "
                               "derive the class from BackgroundWorker, and define run() in it; or "
                               "pass a method of an object")

    chosen = next((option for option in _CHOOSING if _makes_a_kind(options.get(option))), None)
    plain: Any = BackgroundAsyncWorker if is_coroutine_function(f) else BackgroundWorker
    kind = plain if chosen is None else _CHOOSING[chosen]
    name = options.pop("name", None) or attribute_of(f, "__name__", str) or type(f).__name__
    # A queue worker may need a loop for its queue.
    if (options.get("loop") is not None and kind is not BackgroundQueueWorker
            and not _modes.legacy and not is_coroutine_function(f)):
        raise InvalidTypeError(f"background_worker: loop= is for coroutine functions, and {name} "
                               "is a plain function, which runs in a pool thread")
    for option in ("e", "event"):
        if options.get(option) is not None:
            flag(option, options[option])
    worker = kind(name=name, **_options_for(kind, chosen, options))
    worker._worker_set_function(f)
    return worker


#: The kind of worker that each option makes. The first option that is given decides.
_CHOOSING: dict[str, type[BackgroundWorker]] = {
    "q": BackgroundQueueWorker, "queue": BackgroundQueueWorker,
    "e": BackgroundEventWorker, "event": BackgroundEventWorker,
    "i": BackgroundIntervalWorker, "interval": BackgroundIntervalWorker,
    "delay": BackgroundIntervalWorker,
    "delay_after": BackgroundIntervalWorker, "delay_before": BackgroundIntervalWorker,
}


def _is_given(value: Any) -> bool:
    return value is not None and value is not False


def _makes_a_kind(value: Any) -> bool:
    return bool(value) if _modes.legacy else _is_given(value)      # atasker takes any true value


def _check_names(options: Iterable[str]) -> None:
    known = {*COMMON_OPTIONS, *_CHOOSING, "overlap", "name"}
    for option in options:
        if option not in known:
            raise unknown_option(option, known, "background_worker")


def _options_for(kind: type[BackgroundWorker], chosen: str | None,
                 options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that a kind of worker takes.

    Refuse unknown options and those of another kind.
    """
    _check_names(options)
    taken = {}
    for option, value in options.items():
        if option in COMMON_OPTIONS or option in kind._worker_options:
            taken[option] = value
        elif not _is_given(value):
            pass                            # the same as leaving it out
        elif _modes.legacy:
            log.debug("background_worker: option %r is ignored, since %r makes a %s",
                      option, chosen, kind.__name__)
        elif chosen is None:
            raise InvalidTypeError(f"background_worker: {option}= is for interval workers; give "
                                   "interval= or delay=, too")
        else:
            raise InvalidTypeError(f"background_worker: {option}= and {chosen}= exclude each "
                                   f"other, since {chosen}= makes a {kind.__name__}")
    return taken
