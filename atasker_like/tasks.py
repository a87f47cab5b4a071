"""The supervisor of the process, the decorator of tasks, and process tasks for coroutines."""
from __future__ import annotations

from collections import deque
from functools import partial
from itertools import chain, islice
from operator import length_hint

from . import _modes
from ._checks import (a_kind, count, cut_frames, ends_traceback, instance, keywords_of,
                      not_a_function, positional)
from ._core_errors import InvalidTypeError, SupervisorError
from ._generics import Generic, P, T_co
from ._inspect import has_method
from ._log import log
from .constants import TT_MP, TaskType
from .engine.current import current_task
from .engine.loop_mailbox import FutureWaiter
from .engine.result import Failure
from .engine.spec import ClassTask, Decorated, TaskSpec, undecorated
from .engine.task import COMPLETED, Task
from .options import TaskOptions, unknown_option
from .supervisor.supervisor import TaskSupervisor, made_on_first_use
from .waiting import shows_progress, watch_tasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from typing_extensions import (Any, Callable, Coroutine, Generator, Iterable, Iterator, Mapping,
                                   Protocol, Self, Sequence, Unpack, overload)

    from ._checks import Seconds
    from ._generics import A, A_contra, B, B_contra, C, C_contra, Q, R, R_co, Ts
    from ._progress import ShowProgress
    from .engine.lanes import Lane
    from .loops import ALoop
    from .options import Options

    class BoundTaskOptions(Options, total=False):
        """The keyword arguments of :func:`background_task`."""

        tt: TaskType | None
        callback: Callable[[Any], Any] | None
        loop: str | ALoop | AbstractEventLoop | None
        lane: Lane | str | None
        supervisor: TaskSupervisor | None

    class DecoratorOptions(BoundTaskOptions, total=False):
        """The keyword arguments of :func:`background_task`, with those that have no effect."""

        daemon: bool | None

    class TakesOne(Protocol[A_contra, R_co]):
        """A :class:`BoundTask` that can be called with one argument."""

        def __call__(self, item: A_contra, /) -> Task[R_co]: ...

    class TakesTwo(Protocol[A_contra, B_contra, R_co]):
        """A :class:`BoundTask` that can be called with two arguments."""

        def __call__(self, first: A_contra, second: B_contra, /) -> Task[R_co]: ...

    class TakesMany(Protocol[Unpack[Ts], R_co]):
        """A :class:`BoundTask` that can be called with these arguments."""

        def __call__(self, *items: Unpack[Ts]) -> Task[R_co]: ...

    class TakesFirst(Protocol[A_contra, Q, R_co]):
        """A :class:`BoundTask` with a first argument to which it can be bound."""

        def __call__(self, first: A_contra, /, *args: Q.args,
                     **kwargs: Q.kwargs) -> Task[R_co]: ...

    class TakesId0(Protocol[R_co]):
        """A function that takes the id of its task, and no argument."""

        def __call__(self, *, _task_id: str) -> R_co: ...

    class TakesId1(Protocol[A_contra, R_co]):
        """A function that takes the id of its task, and one argument."""

        def __call__(self, first: A_contra, /, *, _task_id: str) -> R_co: ...

    class TakesId2(Protocol[A_contra, B_contra, R_co]):
        """A function that takes the id of its task, and two arguments."""

        def __call__(self, first: A_contra, second: B_contra, /, *, _task_id: str) -> R_co: ...

    class TakesId3(Protocol[A_contra, B_contra, C_contra, R_co]):
        """A function that takes the id of its task, and three arguments."""

        def __call__(self, first: A_contra, second: B_contra, third: C_contra, /, *,
                     _task_id: str) -> R_co: ...

    class MakesTask(Protocol):
        """The decorator that ``background_task(**options)`` returns."""

        @overload
        def __call__(self, function: BoundTask[Q, R], /) -> BoundTask[Q, R]: ...

        @overload
        def __call__(self, function: Callable[Q, R], /) -> BoundTask[Q, R]: ...

__all__ = ["BoundTask", "background_task", "co_mp_apply", "current_task", "task_supervisor"]

#: The supervisor of this process.
task_supervisor: TaskSupervisor = made_on_first_use("default")


def supervisor_or_default(supervisor: TaskSupervisor | None) -> TaskSupervisor:
    """Check the supervisor of an argument, and return it; None is ``task_supervisor``."""
    if supervisor is None:
        return task_supervisor
    return instance("supervisor", supervisor, TaskSupervisor, "a TaskSupervisor")


#: Calls that ``map`` submits at a time.
_BATCH = 512

_OPTION_NAMES = TaskOptions.__slots__

#: The options of decorated functions beside them.
_ROUTING = ("tt", "callback", "loop", "supervisor", "lane")


class BoundTask(Generic[P, T_co], Decorated):
    """A function whose calls are tasks; ``@background_task`` makes it.

    A call submits a task, with all arguments untouched, and returns the :class:`Task`. Any thread
    may call it. ``__wrapped__`` is the function itself.

    It can be copied and pickled with its options, and that of a method with its object. A pickle
    does not hold the supervisor: in another process, the task runs under the supervisor with which
    the function is decorated there.

    >>> @background_task
    ... def area(width, height=1):
    ...     return width * height
    >>> area(3, height=4).value(), area.__wrapped__(3)
    (12, 3)
    """

    __slots__ = ("_spec", "_start", "_start_many", "_supervisor")

    def __init__(self, function: Callable[P, T_co], options: TaskOptions, tt: TaskType | None,
                 callback: Callable[[Any], Any] | None, loop: Any, supervisor: TaskSupervisor,
                 lane: Any = None) -> None:
        supervisor = instance("supervisor", supervisor, TaskSupervisor, "a TaskSupervisor")
        super().__init__(function)
        self._spec: TaskSpec = supervisor.make_spec(function, tt, options, callback, loop,
                                                    lane=lane, named_id=_modes.legacy)
        self._spec.keeps_items = True       # errors of map() show the items
        # Bound once: a call goes straight to the pool.
        specs = supervisor._supervisor_parts.specs
        self._start = specs.starter(self._spec)
        self._start_many = specs.many_starter(self._spec)
        self._supervisor = supervisor

    if TYPE_CHECKING:
        # A coroutine function and its call differ: not so for a generic function.
        @overload
        def __call__(self: BoundTask[Q, Coroutine[Any, Any, R]], /, *args: Q.args,
                     **kwargs: Q.kwargs) -> Task[R]: ...

        @overload
        def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Task[T_co]: ...

    def __call__(self, /, *args: Any, **kwargs: Any) -> Task[Any]:
        try:
            return self._start(self._spec, args, kwargs or None)
        except SupervisorError as error:
            cut_frames(error)
            raise

    if TYPE_CHECKING:
        __wrapped__: Callable[P, T_co]

        # A class method of a class, anything else of a class; a method, a class method and a static
        # method of an object.
        @overload
        def __get__(self: TakesFirst[A, Q, R], instance: None, owner: A) -> BoundTask[Q, R]: ...

        @overload
        def __get__(self, instance: None, owner: Any = None) -> Self: ...

        @overload
        def __get__(self: TakesFirst[A, Q, R], instance: A,
                    owner: Any = None) -> BoundTask[Q, R]: ...

        @overload
        def __get__(self: TakesFirst[A, Q, R], instance: object, owner: A) -> BoundTask[Q, R]: ...

        @overload
        def __get__(self, instance: object, owner: Any = None) -> Self: ...

        def __get__(self, instance: Any, owner: Any = None) -> Any: ...

    @ends_traceback
    def options(self, **changes: Unpack[BoundTaskOptions]) -> BoundTask[P, T_co]:
        """Return a copy with other options: ``fetch.options(priority=TASK_HIGH)(url)``.

        It takes all of :class:`TaskOptions`, and ``tt``, ``callback``, ``loop``, ``lane`` and
        ``supervisor``.

        :raises InvalidTypeError: (a TypeError) for an option that does not exist.
        """
        return self._changed(dict(changes))

    def _changed(self, changes: dict[str, Any]) -> BoundTask[P, T_co]:
        spec = self._spec
        routing = {name: changes.pop(name) for name in _ROUTING if name in changes}
        for name in changes:
            if name not in _OPTION_NAMES:
                raise unknown_option(name, [*_OPTION_NAMES, *_ROUTING], f"the task {spec.name}")
        supervisor = routing.get("supervisor")
        return BoundTask(spec.function, spec.options.replace(**changes), routing.get("tt", spec.tt),
                         routing.get("callback", spec.callback), routing.get("loop", spec.loop),
                         self._supervisor if supervisor is None else supervisor,
                         routing.get("lane", spec.lane))

    def map(self: TakesOne[A, R], items: Iterable[A], buffersize: int | None = None,
            progress: ShowProgress = False) -> Generator[R, None, None]:
        """Submit a call for each item; yield the results in order.

        :param items: any iterable; each item is the one argument of a call.
        :param buffersize: the number of calls ahead of the result that is yielded next. Items are
            read when their calls are submitted (default: all are submitted at once).
        :param progress: show the progress while the iterator waits: True, a description, or a
            function that is called with ``(done, total, failed)`` (default: False).
        :raises Exception: what a call raised, in the position of its result; the calls after it are
            cancelled. From Python 3.11 on, a note of the error names the item.

        >>> list(background_task(abs).map([-1, 2, -3]))
        [1, 2, 3]
        """
        try:
            task: Any = self
            results: Generator[R, None, None] = task._map("map", zip, items, buffersize, progress)
            return results
        except SupervisorError as error:
            cut_frames(error)
            raise

    if TYPE_CHECKING:
        @overload
        def starmap(self: TakesMany[Unpack[Ts], R], items: Iterable[tuple[Unpack[Ts]]],
                    buffersize: int | None = None,
                    progress: ShowProgress = False) -> Generator[R, None, None]: ...

        @overload       # of a function that has defaults
        def starmap(self: TakesOne[A, R], items: Iterable[tuple[A]],
                    buffersize: int | None = None,
                    progress: ShowProgress = False) -> Generator[R, None, None]: ...

        @overload
        def starmap(self: TakesTwo[A, B, R], items: Iterable[tuple[A, B]],
                    buffersize: int | None = None,
                    progress: ShowProgress = False) -> Generator[R, None, None]: ...

        @overload
        def starmap(self, items: Iterable[list[Any]],
                    buffersize: int | None = None,
                    progress: ShowProgress = False) -> Generator[T_co, None, None]: ...

    def starmap(self, items: Iterable[Iterable[Any]],
                buffersize: int | None = None,
                progress: ShowProgress = False) -> Generator[Any, None, None]:
        """Do the same as :meth:`map`, with each item unpacked into positional arguments.

        :param items: any iterable; each item is an iterable of arguments.
        :param buffersize: the number of calls ahead of the result that is yielded next, as for
            :meth:`map` (default: all are submitted at once).
        :param progress: as for :meth:`map` (default: False).
        :return: an iterator over the results, in order.

        >>> list(background_task(pow).starmap([(2, 3), (2, 4)]))
        [8, 16]
        """
        try:
            return self._map("starmap", partial(map, tuple), items, buffersize, progress)
        except SupervisorError as error:
            cut_frames(error)
            raise

    def _map(self, name: str, arrange: Callable[[Any], Iterator[tuple[Any, ...]]], items: Any,
             buffersize: int | None, progress: ShowProgress) -> Generator[Any, None, None]:
        if not has_method(items, "__iter__") and not has_method(items, "__getitem__"):
            raise InvalidTypeError(f"{name} takes an iterable of items, not {a_kind(items)}")
        calls = arrange(items)
        if buffersize is not None:
            count("buffersize", buffersize)
        if shows_progress(progress):
            return self._map_shown(calls, buffersize, progress, length_hint(items, 0))
        if buffersize is None:
            tasks: list[Task[Any]] = []
            batch = list(islice(calls, _BATCH))
            if len(batch) < _BATCH:
                # One line, so that no interrupt comes between the submission and the return.
                return _results(self._start_many(self._spec, batch, 0) if batch else tasks)
            calls = chain(batch, calls)
            try:
                self._submit_all(calls, tasks)
                return _results(tasks)
            except BaseException:
                self._spec.pool.cancel_many(tasks)
                raise
        return self._map_ahead(calls, buffersize)

    def _map_shown(self, calls: Iterator[tuple[Any, ...]], buffersize: int | None,
                   progress: ShowProgress, total: int) -> Generator[Any, None, None]:
        tasks: deque[Task[Any]] = deque()
        try:
            if buffersize is None:
                self._submit_all(calls, tasks)
            return self._results_shown(calls, buffersize, progress, total, tasks)
        except BaseException:
            self._spec.pool.cancel_many(list(tasks))
            raise

    def _results_shown(self, calls: Iterator[tuple[Any, ...]], buffersize: int | None,
                       progress: ShowProgress, total: int,
                       tasks: deque[Task[Any]]) -> Generator[Any, None, None]:
        watch = watch_tasks(progress, list(tasks), total=total, name=self._spec.name,
                            all_needed=False)
        completed: Any = watch.completed
        more, submitted = buffersize is not None, 0
        with watch:
            try:
                while True:
                    if more and buffersize is not None and len(tasks) < buffersize:
                        batch: list[Task[Any]] = []
                        most = min(_BATCH, buffersize - len(tasks))
                        more = self._submit_batch(calls, most, batch, submitted)
                        submitted += len(batch)
                        tasks += batch
                        watch.add(batch)
                        del batch
                    if not tasks:
                        return
                    for until in watch.steps(None, tasks[0].done):
                        completed.wait(None, until)
                    yield tasks.popleft().value()       # in no variable, which would keep it
            finally:
                self._spec.pool.cancel_many(list(tasks))

    def _map_ahead(self, calls: Iterator[tuple[Any, ...]],
                   buffersize: int) -> Generator[Any, None, None]:
        pending = deque()       # type: Any
        more, submitted = True, 0
        try:
            while True:
                if more and len(pending) < buffersize:
                    before = len(pending)
                    more = self._submit_batch(calls, min(_BATCH, buffersize - before), pending,
                                              submitted)
                    submitted += len(pending) - before
                if not pending:
                    return
                yield pending.popleft().value()
        except SupervisorError as error:
            cut_frames(error)
            raise
        finally:
            self._spec.pool.cancel_many(list(pending))

    def _submit_all(self, calls: Iterator[tuple[Any, ...]], tasks: Any) -> None:
        while self._submit_batch(calls, _BATCH, tasks, len(tasks)):
            pass

    def _submit_batch(self, calls: Iterator[tuple[Any, ...]], most: int, tasks: Any,
                      first: int) -> bool:
        """Submit the next calls together; return False if there are no more.

        :param first: the position of the first of them in the map.
        """
        batch = list(islice(calls, most))
        if batch:
            tasks += self._start_many(self._spec, batch, first)
        return len(batch) == most

    def _with(self, function: Callable[..., Any]) -> BoundTask[P, T_co]:
        spec = self._spec
        return BoundTask(function, spec.options, spec.tt, spec.callback, spec.loop,
                         self._supervisor, spec.lane)

    def _changes_to(self, found: BoundTask) -> dict[str, Any]:
        spec, other = self._spec, found._spec
        changes = {} if spec.options is other.options else spec.options.as_dict()
        for name in ("tt", "callback", "loop"):
            if getattr(spec, name) is not getattr(other, name):
                changes[name] = getattr(spec, name)
        if spec.lane is not other.lane:
            changes["lane"] = self._lane_name()
        return changes

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
        from .errors import TaskPicklingError

        raise TaskPicklingError(f"the task {self._spec.name} cannot be pickled with its lane, "
                                f"{lane!r}: make the lane with task_supervisor.lane(), and give "
                                "the task the name of the lane")

    def __repr__(self) -> str:
        return f"<background_task {self._spec.name}>"


def _decorated(function: Any, options: dict[str, Any]) -> BoundTask:
    """Make a pickled task whose function is not found under its name."""
    task: BoundTask = background_task(function, **options)
    return task


def _results(tasks: list[Task[Any]]) -> Generator[Any, None, None]:
    """Yield values in order, and drop each task; cancel the others when the iterator is closed."""
    tasks.reverse()
    try:
        while True:
            if not tasks:
                return
            # Task.value(), written out for a task that has succeeded. No variable may keep it.
            if tasks[-1]._status == COMPLETED and type(tasks[-1]._outcome) is not Failure:
                yield tasks.pop()._outcome
            else:
                yield tasks.pop().value()
    finally:
        if tasks:
            tasks[0]._spec.pool.cancel_many(tasks[::-1])


if TYPE_CHECKING:
    @overload
    def background_task(f: None = None, **options: Unpack[DecoratorOptions]) -> MakesTask: ...

    @overload
    def background_task(f: BoundTask[Q, R],
                        **options: Unpack[DecoratorOptions]) -> BoundTask[Q, R]: ...

    @overload
    def background_task(f: Callable[Q, R],
                        **options: Unpack[DecoratorOptions]) -> BoundTask[Q, R]: ...


@ends_traceback
def background_task(f: Any = None, **options: Any) -> Any:
    """Make the calls of a function tasks. A decorator, with or without parentheses.

    It may also be called with the function and options. Any thread may call it.

    :param f: a function, coroutine function, method, static method or class method (default: None,
        returns a decorator). The task of a class has the instance as its value. A generator
        function is refused: a call of it runs no line of its body.
    :param tt: ``TT_THREAD``, ``TT_MP`` or ``TT_COROUTINE`` (default: a coroutine function runs in a
        loop, another one in a thread).
    :param callback: called with the result before the completion is announced.
    :param loop: the loop of a coroutine function: a name, an :class:`ALoop` or an asyncio loop.
    :param lane: a :class:`Lane`, or the name of one: a limit that the calls have to pass. A name
        needs a lane that :meth:`TaskSupervisor.lane` has made by the first call; otherwise the call
        raises :class:`InvalidArgumentError`.
    :param supervisor: the supervisor to use (default: ``task_supervisor``).
    :param daemon: accepted and ignored, with a warning in the log.

    All of :class:`TaskOptions` may be given as well: ``name``, ``priority``, ``delay``,
    ``timeout``, ``retries``...

    Above ``@classmethod``, not below it, it keeps ``options`` and ``map`` bound to the class on
    every Python.

    :raises InvalidTypeError: (a TypeError) not callable, an option that does not exist, or a kind
        of function that cannot run where it should.

    >>> @background_task(priority=50)
    ... def double(x):
    ...     return 2 * x
    >>> wait_completed([double(1), double(x=2)])
    [2, 4]
    """
    return _decorate(f, options)


# With a dict: jedi follows calls with ** without end if a function calls itself so.
@ends_traceback
def _decorate(f: Any, options: dict[str, Any]) -> Any:
    if f is None:
        _check_names(options)
        return partial(_decorate, options=options)
    options = dict(options)
    if "daemon" in options:
        del options["daemon"]
        log.warning("background_task: daemon= has no effect; pool threads never hold the exit of "
                    "the interpreter")
    if type(f) is ClassTask:
        f = classmethod(f._function)
    if issubclass(type(f), classmethod):
        return ClassTask(_decorate(f.__func__, options))
    if issubclass(type(f), staticmethod):
        return staticmethod(_decorate(f.__func__, options))
    routing = {name: options.pop(name, None) for name in _ROUTING} if options else {}
    _check_names(options)
    f = undecorated(f)
    if not callable(f):
        raise not_a_function("background_task", f)
    return BoundTask(f, TaskOptions(**options), routing.get("tt"), routing.get("callback"),
                     routing.get("loop"), supervisor_or_default(routing.get("supervisor")),
                     routing.get("lane"))


def _check_names(options: Iterable[str]) -> None:
    for name in options:
        if name not in _OPTION_NAMES and name not in _ROUTING and name != "daemon":
            raise unknown_option(name, [*_OPTION_NAMES, *_ROUTING], "background_task")


if TYPE_CHECKING:
    @overload
    async def co_mp_apply(f: Callable[[], R], args: tuple[()] = (), kwargs: None = None,
                          priority: int | None = None, delay: Seconds | None = None,
                          supervisor: TaskSupervisor | None = None) -> R: ...

    @overload
    async def co_mp_apply(f: Callable[[Unpack[Ts]], R], args: tuple[Unpack[Ts]],
                          kwargs: None = None, priority: int | None = None,
                          delay: Seconds | None = None,
                          supervisor: TaskSupervisor | None = None) -> R: ...

    @overload
    async def co_mp_apply(f: TakesId0[R], args: tuple[()] = (),
                          kwargs: None = None, priority: int | None = None,
                          delay: Seconds | None = None,
                          supervisor: TaskSupervisor | None = None) -> R: ...

    @overload
    async def co_mp_apply(f: TakesId1[A, R], args: tuple[A],
                          kwargs: None = None, priority: int | None = None,
                          delay: Seconds | None = None,
                          supervisor: TaskSupervisor | None = None) -> R: ...

    @overload
    async def co_mp_apply(f: TakesId2[A, B, R], args: tuple[A, B],
                          kwargs: None = None, priority: int | None = None,
                          delay: Seconds | None = None,
                          supervisor: TaskSupervisor | None = None) -> R: ...

    @overload
    async def co_mp_apply(f: TakesId3[A, B, C, R], args: tuple[A, B, C],
                          kwargs: None = None, priority: int | None = None,
                          delay: Seconds | None = None,
                          supervisor: TaskSupervisor | None = None) -> R: ...

    @overload
    async def co_mp_apply(f: Callable[..., R], args: list[Any],
                          kwargs: Mapping[str, Any] | None = None, priority: int | None = None,
                          delay: Seconds | None = None,
                          supervisor: TaskSupervisor | None = None) -> R: ...

    @overload
    async def co_mp_apply(f: Callable[..., R], args: Sequence[Any], kwargs: Mapping[str, Any],
                          priority: int | None = None, delay: Seconds | None = None,
                          supervisor: TaskSupervisor | None = None) -> R: ...

    @overload
    async def co_mp_apply(f: Callable[..., R], args: Sequence[Any] = (), *,
                          kwargs: Mapping[str, Any], priority: int | None = None,
                          delay: Seconds | None = None,
                          supervisor: TaskSupervisor | None = None) -> R: ...


async def co_mp_apply(f: Callable[..., Any], args: Sequence[Any] = (),
                      kwargs: Mapping[str, Any] | None = None, priority: int | None = None,
                      delay: Seconds | None = None,
                      supervisor: TaskSupervisor | None = None) -> Any:
    """Run ``f(*args, **kwargs)`` in a pool process and await the result.

    Cancelling the awaiting coroutine cancels the task. A queued task then never runs; the process
    of a running one is ended.

    Call it in a loop of any thread.

    :param f: a function that the process can import; if its signature takes ``_task_id``, it
        receives the id.
    :param args: its positional arguments (default: empty).
    :param kwargs: its keyword arguments (default: None).
    :param priority: any integer; lower runs first (default: NORMAL).
    :param delay: seconds until it may start (default: None, at once).
    :param supervisor: the supervisor to use (default: ``task_supervisor``).
    :return: what ``f`` returned.
    :raises Exception: what ``f`` raised. Its traceback in the process is the ``__cause__``.

    >>> import asyncio
    >>> asyncio.run(co_mp_apply(pow, args=(2, 5)))
    32
    """
    try:
        specs = (task_supervisor if supervisor is None else supervisor)._supervisor_parts.specs
        if delay is None:
            spec = specs.kept(f, TT_MP, priority)
        else:
            spec = specs.make(f, TT_MP, TaskOptions(priority=priority, delay=delay))
        task: Task[Any] = specs.starter(spec)(spec, positional("co_mp_apply", f, args),
                                              keywords_of("co_mp_apply", f, kwargs))
    except SupervisorError as error:
        cut_frames(error)
        raise
    if not task.done():
        waiter = FutureWaiter()
        if task._add_waiter(waiter):
            try:
                await waiter.future
            except BaseException:
                task.cancel()
                raise
    return task.value()
