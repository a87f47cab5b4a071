"""How people use it: the supervisor of the process, the decorator, waiting, and the bridge for coroutines."""
from __future__ import annotations

from collections import deque
from itertools import chain, islice

from . import _modes
from ._checks import count
from ._log import log
from .constants import TT_MP, TaskType
from .engine.current import current_task
from .engine.loop_mailbox import FutureWatcher
from .engine.spec import Decorated, TaskSpec, undecorated
from .engine.task import Task
from .errors import InvalidTypeError, TaskPicklingError
from .options import TaskOptions, unknown_option
from .pools.base import cancel_many
from .supervisor.supervisor import TaskSupervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence, TypeVar, overload

    from ._checks import Seconds

    T = TypeVar("T")
    R = TypeVar("R")
else:
    def overload(function):
        return function

__all__ = ["BoundTask", "background_task", "co_mp_apply", "current_task", "task_supervisor"]

#: The supervisor of this process.
task_supervisor = TaskSupervisor("default")

#: Tasks that ``map`` submits at a time.
_CHUNK = 512

_OPTION_NAMES = TaskOptions.__slots__

#: What decorated functions take beside them: where their calls run.
_WHERE = ("tt", "callback", "loop", "supervisor", "lane")


class BoundTask(Decorated):
    """A function whose calls are tasks: what ``@background_task`` makes.

    Calling it submits the call, with all arguments untouched, and returns its :class:`Task`. It may be called
    from any thread. ``__wrapped__`` is the function itself.

    It can be copied and pickled with its options, and one of a method with its object. A pickle does not hold
    the supervisor: in another process, the task runs under the supervisor that the function is decorated with
    there.
    """

    __slots__ = ("_spec", "_start", "_supervisor")

    def __init__(self, function: Callable[..., Any], options: TaskOptions, tt: TaskType | None,
                 callback: Callable[[Any], Any] | None, loop: Any, supervisor: TaskSupervisor,
                 lane: Any = None) -> None:
        if not isinstance(supervisor, TaskSupervisor):
            raise InvalidTypeError(f"supervisor takes a TaskSupervisor, not {type(supervisor).__name__}")
        super().__init__(function)
        self._spec: TaskSpec = supervisor.make_spec(function, tt, options, callback, loop, lane=lane,
                                                    named_id=_modes.legacy)
        self._start = supervisor._supervisor_parts.specs.starter(self._spec)
        self._supervisor = supervisor

    def __call__(self, /, *args: Any, **kwargs: Any) -> Task[Any]:
        return self._start(self._spec, args, kwargs or None)

    def options(self, **changes: Any) -> BoundTask:
        """Return a copy whose calls have other options: ``fetch.options(priority=TASK_HIGH)(url)``.

        Takes all of :class:`TaskOptions`, and ``tt``, ``callback``, ``loop``, ``lane`` and ``supervisor``.

        :raises InvalidTypeError: (a TypeError) for an option that does not exist.
        """
        spec = self._spec
        others = {name: changes.pop(name) for name in _WHERE if name in changes}
        for name in changes:
            if name not in _OPTION_NAMES:
                raise unknown_option(name, [*_OPTION_NAMES, *_WHERE], f"the task {spec.name}")
        return BoundTask(spec.function, spec.options.replace(**changes), others.get("tt", spec.tt),
                         others.get("callback", spec.callback), others.get("loop", spec.loop),
                         self._supervisor if others.get("supervisor") is None else others["supervisor"],
                         others.get("lane", spec.lane))

    def map(self, items: Iterable[Any], buffersize: int | None = None) -> Iterator[Any]:
        """Submit a call for each item, with the item as its one argument; yield the results in order.

        :param items: any iterable. Without a buffersize all calls are submitted here and now.
        :param buffersize: at most so many calls are submitted ahead of the result that is yielded next, and
            so many items taken from the iterable.
        :raises Exception: what a call raised, when its turn comes; the calls behind it are cancelled.

        >>> list(background_task(abs).map([-1, 2, -3]))
        [1, 2, 3]
        """
        return self._map(zip(items), buffersize)

    def starmap(self, items: Iterable[Iterable[Any]], buffersize: int | None = None) -> Iterator[Any]:
        """The same as :meth:`map`, with each item unpacked into positional arguments."""
        return self._map(map(tuple, items), buffersize)

    def _map(self, calls: Iterator[tuple[Any, ...]], buffersize: int | None) -> Iterator[Any]:
        if buffersize is None:
            tasks: list[Task[Any]] = []
            chunk = list(islice(calls, _CHUNK))
            if len(chunk) < _CHUNK:
                # One line, so that no interrupt comes between having them run and returning.
                return _results(self._supervisor._supervisor_parts.specs.start_many(self._spec, chunk) if chunk else tasks)
            calls = chain(chunk, calls)
            try:
                while self._submit_some(calls, _CHUNK, tasks):
                    pass
                return _results(tasks)
            except BaseException:
                cancel_many(tasks)
                raise
        return self._map_ahead(calls, count("buffersize", buffersize))

    def _map_ahead(self, calls: Iterator[tuple[Any, ...]], buffersize: int) -> Iterator[Any]:
        pending = deque()       # type: Any
        more = True
        try:
            while True:
                if more and len(pending) < buffersize:
                    more = self._submit_some(calls, min(_CHUNK, buffersize - len(pending)), pending)
                if not pending:
                    return
                yield pending.popleft().value()
        finally:
            cancel_many(list(pending))

    def _submit_some(self, calls: Iterator[tuple[Any, ...]], most: int, tasks: Any) -> bool:
        """Submit the next calls together; False when there are no more."""
        chunk = list(islice(calls, most))
        if chunk:
            tasks += self._supervisor._supervisor_parts.specs.start_many(self._spec, chunk)
        return len(chunk) == most

    def _with(self, function: Callable[..., Any]) -> BoundTask:
        spec = self._spec
        return BoundTask(function, spec.options, spec.tt, spec.callback, spec.loop, self._supervisor, spec.lane)

    def _changes_to(self, found: BoundTask) -> dict[str, Any]:
        spec, other = self._spec, found._spec
        changes = {} if spec.options is other.options else spec.options.as_dict()
        for name in ("tt", "callback", "loop"):
            if getattr(spec, name) is not getattr(other, name):
                changes[name] = getattr(spec, name)
        if spec.lane is not other.lane:
            changes["lane"] = self._lane_name()
        return changes

    def _changed(self, changes: dict[str, Any]) -> BoundTask:
        return self.options(**changes)

    def _parts(self) -> tuple[Any, ...]:
        spec = self._spec
        changes = dict(spec.options.as_dict(), tt=spec.tt, callback=spec.callback, loop=spec.loop)
        if spec.lane is not None:
            changes["lane"] = self._lane_name()
        return _decorated, (self._function, changes)

    def _lane_name(self) -> str | None:
        lane = self._spec.lane
        if lane is None:
            return None
        name: str = lane.name
        if self._supervisor._supervisor_parts.specs.knows(lane):
            return name
        raise TaskPicklingError(f"the task {self._spec.name} cannot be pickled with its lane, {lane!r}: make the lane "
                                "with task_supervisor.lane(), and give the task the name of the lane")

    def __repr__(self) -> str:
        return f"<background_task {self._spec.name}>"

    if TYPE_CHECKING:
        __wrapped__: Callable[..., Any]


class _ClassTask(Decorated):
    """A class method whose calls are tasks. A classmethod around a BoundTask would bind calls, but not ``options``."""

    __slots__ = ("_task",)

    def __init__(self, task: BoundTask) -> None:
        super().__init__(task._function)
        self._task = task

    def __get__(self, instance: Any, owner: Any = None) -> BoundTask:       # type: ignore[override]
        return self._task.__get__(type(instance) if owner is None else owner)


def _decorated(function: Any, options: dict[str, Any]) -> BoundTask:
    """What a pickled task is made with that is not found under its name."""
    task: BoundTask = background_task(function, **options)
    return task


def _results(tasks: list[Task[Any]]) -> Iterator[Any]:
    """Yield values in order, letting go of each task; whatever is left when the iterator ends is cancelled."""
    tasks.reverse()
    try:
        while tasks:
            yield tasks.pop().value()       # in no variable: who takes one result at a time holds one
    finally:
        cancel_many(tasks[::-1])


@overload
def background_task(f: None = None, **options: Any) -> Callable[[Callable[..., Any]], BoundTask]: ...


@overload
def background_task(f: Callable[..., Any], **options: Any) -> BoundTask: ...


def background_task(f: Any = None, **options: Any) -> Any:
    """Make the calls of a function tasks. A decorator, with or without parentheses, or called by hand.

    :param f: a function, coroutine function, method, static method or class method. The task of a class has the
        instance as its value. A generator function is refused: a call of it runs no line of its body.
    :param tt: ``TT_THREAD``, ``TT_MP`` or ``TT_COROUTINE``; coroutine functions run in a loop, others in a thread.
    :param callback: called with the result before the completion is announced.
    :param loop: where a coroutine function runs: the name of a loop, an :class:`ALoop` or an asyncio loop.
    :param lane: a :class:`Lane`, or the name of one: a limit that the calls have to pass. A name needs a lane that
        :meth:`TaskSupervisor.lane` has made by the first call; otherwise the call raises :class:`InvalidArgumentError`.
    :param supervisor: the supervisor to use; ``task_supervisor`` unless told.
    :param daemon: accepted and ignored, with a warning in the log.

    All of :class:`TaskOptions` may be given as well: ``name``, ``priority``, ``delay``, ``timeout``, ``retries``...

    Above ``@classmethod``, not below it, it keeps ``options`` and ``map`` bound to the class on every Python.

    :raises InvalidTypeError: (a TypeError) not callable, an option that does not exist, or a kind of function that
        cannot run where it should.

    >>> @background_task(priority=50)
    ... def double(x):
    ...     return 2 * x
    >>> wait_completed([double(1), double(x=2)])
    [2, 4]
    """
    if f is None:
        return lambda function: background_task(function, **options)
    if "daemon" in options:
        options = dict(options)
        del options["daemon"]
        log.warning("background_task: daemon= has no effect; pool threads never hold the exit of the interpreter")
    if type(f) is _ClassTask:
        f = classmethod(f._function)
    if issubclass(type(f), classmethod):
        return _ClassTask(background_task(f.__func__, **options))
    if issubclass(type(f), staticmethod):
        return staticmethod(background_task(f.__func__, **options))
    where = {name: options.pop(name, None) for name in _WHERE} if options else {}
    for name in options:
        if name not in _OPTION_NAMES:
            raise unknown_option(name, [*_OPTION_NAMES, *_WHERE], "background_task")
    supervisor = where.get("supervisor")
    if supervisor is None:
        supervisor = task_supervisor
    f = undecorated(f)
    if not callable(f):
        raise InvalidTypeError(f"background_task takes a function, not {type(f).__name__}")
    return BoundTask(f, TaskOptions(**options), where.get("tt"), where.get("callback"), where.get("loop"),
                     supervisor, where.get("lane"))


# -- waiting -----------------------------------------------------------------------------------------------


async def co_mp_apply(f: Callable[..., Any], args: Sequence[Any] = (),
                      kwargs: Mapping[str, Any] | None = None, priority: int | None = None,
                      delay: Seconds | None = None, supervisor: TaskSupervisor | None = None) -> Any:
    """Run ``f(*args, **kwargs)`` in a pool process and await the result.

    :param f: a function that the process can import; it gets ``_task_id`` when its signature takes it.
    :param priority: any integer; lower runs first; NORMAL unless told.
    :param delay: seconds until it may start.
    :param supervisor: the supervisor to use; ``task_supervisor`` unless told.
    :raises Exception: what ``f`` raised. Its traceback in the process is the ``__cause__``.

    Cancelling the coroutine that awaits cancels the task: queued, it never runs; running, its process is ended.
    """
    owner = task_supervisor if supervisor is None else supervisor
    if delay is None:
        spec = owner._supervisor_parts.specs.kept(f, TT_MP, priority)
    else:
        spec = owner.make_spec(f, TT_MP, TaskOptions(priority=priority, delay=delay))
    task: Task[Any] = owner._supervisor_parts.specs.starter(spec)(spec, tuple(args), dict(kwargs) if kwargs else None)
    if not task.done():
        watcher = FutureWatcher()
        if task._watch(watcher):
            try:
                await watcher.future
            except BaseException:
                task.cancel()
                raise
    return task.value()
