"""ThreadExecutor and ProcessExecutor: ``concurrent.futures`` over the pools of a supervisor.

::

    submit, map ──> lane of the executor ──> pool of the supervisor ──> FutureView of the task

An executor adds a lane to a pool that it shares with all other tasks of the supervisor. The lane
limits how many of its calls run at once. ``shutdown()`` closes the lane; the pool goes on. A
:class:`ProcessExecutor` with options for its processes has a supervisor of its own instead.
"""
from __future__ import annotations

import sys
import threading
from collections import deque
from concurrent.futures import Executor
from concurrent.futures.thread import ThreadPoolExecutor
from itertools import count, islice
from types import BuiltinFunctionType, FunctionType, ModuleType
from weakref import ref

from . import _checks
from ._checks import cut_frames, ends_traceback, plain_or_none, runs_when_called
from ._inspect import described, is_coroutine_function, name_of
from ._log import log
from .constants import TASK_NORMAL, TT_MP, TT_THREAD
from .engine.blocking import deadline_of
from .engine.future import FutureView
from .engine.initializers import call_initializer
from .engine.lanes import Lane
from .engine.spec import AnnouncedFunction, TaskSpec, undecorated
from .errors import (ClosedError, InvalidArgumentError, InvalidTypeError, PoolBrokenError,
                     SupervisorError, WaitTimeoutError)
from .options import TaskOptions
from .pools.cancelling import cancel_unstarted
from .supervisor import TaskSupervisor
from .tasks import supervisor_or_default

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Any, Callable, Iterable, Iterator, Sequence

    from ._checks import Seconds
    from ._generics import P, T
    from .constants import TaskType
    from .engine.task import Task
    from .pools.process.serializer import SerializerModule

__all__ = ["ProcessExecutor", "ThreadExecutor"]

#: The most functions whose specs are kept.
_KEPT_SPECS = 256

#: Iterables whose items exist already, so that map() can submit them together.
_PRESENT = frozenset((list, tuple, range, str, bytes))

_numbers = count(1)
_new_future = FutureView.__new__
_set: Callable[..., Any] = setattr


class _LaneExecutor(Executor):
    """What both executors have in common. Any thread may call it."""

    _kind: TaskType

    def _open(self, supervisor: TaskSupervisor | None, max_workers: int | None,
              priority: int | None) -> None:
        supervisor = supervisor_or_default(supervisor)
        max_workers = _checks.count_or_none("max_workers", max_workers)
        self._options = TaskOptions(priority=priority)
        #: Referred to, as a supervisor ends when nothing refers to it.
        self._supervisor: TaskSupervisor | None = supervisor
        self._parts: Any = supervisor._supervisor_parts
        self._name = f"{type(self).__name__}-{next(_numbers)}"
        self._lane = Lane(self._name, limit=max_workers)
        self._lane.bind(self._parts.pools.pool_for(self._kind))
        self._specs: dict[Any, TaskSpec] = {}
        self._shutdown = False      # named as that of the standard executors, which others read
        self._size_is_checked = max_workers is None

    # -- calls -------------------------------------------------------------------------------------

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run ``fn(*args, **kwargs)`` in the pool; return a :class:`concurrent.futures.Future`.

        Its attribute ``task`` is the task.

        :param fn: a callable; for a :class:`ProcessExecutor` one that a process can import.
        :raises InvalidTypeError: (a TypeError) the function cannot run in this pool.
        :raises ClosedError: (a RuntimeError) :meth:`shutdown` was called.
        :raises SupervisorStoppedError: (a RuntimeError) the supervisor has been stopped.
        """
        try:
            spec = self._specs.get(fn) if type(fn) is FunctionType else None
            if spec is None:
                spec = self._spec(fn, once=True)
            task: FutureView[T] = _new_future(FutureView)
            run = spec.pool.start
            # One expression in one line, so that no interrupt can come between the submission and
            # the return.
            return task if _set(task, "_task", run(spec, args, kwargs or None)) is None else task
        except SupervisorError as error:
            cut_frames(error)
            raise

    def map(self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: Seconds | None = None,
            chunksize: int = 1, buffersize: int | None = None) -> Iterator[T]:
        """Call a function with the items of iterables; return an iterator over the results.

        The calls are submitted now. When the iterator is closed, calls that have not begun are
        cancelled.

        The other errors are those of :meth:`submit`.

        :param fn: it is called with an item of each iterable.
        :param timeout: seconds from this call within which all results must arrive (default: no
            limit).
        :param chunksize: without effect, as the pool itself sends short calls together (default:
            1).
        :param buffersize: the most calls that are submitted ahead of the results, in chunks. The
            iterables are read as results are taken (default: no limit).
        :raises WaitTimeoutError: (a :class:`concurrent.futures.TimeoutError`) from the iterator.
        """
        try:
            deadline = deadline_of(timeout)
            chunksize = _checks.count("chunksize", chunksize)
            calls: Iterator[tuple[Any, ...]] = zip(*iterables)
            spec = self._spec(fn)
            tasks: deque[Task[Any]] = deque()
            if buffersize is None:
                present = _PRESENT.issuperset(map(type, iterables))
                self._submit(spec, calls, tasks, present)
                return _results(tasks, deadline, None)
            ahead = _checks.count("buffersize", buffersize) * chunksize
            self._submit(spec, islice(calls, ahead), tasks, False)
            executor = ref(self)        # an iterator does not keep its executor

            def submit_next() -> None:
                alive = executor()
                if alive is not None:
                    alive._submit(spec, islice(calls, 1), tasks, False)

            return _results(tasks, deadline, submit_next)
        except SupervisorError as error:
            cut_frames(error)
            raise

    def _submit(self, spec: TaskSpec, calls: Iterator[tuple[Any, ...]], tasks: deque[Task[Any]],
                together: bool) -> None:
        """Submit calls, and append their tasks. If one is refused, cancel those before it."""
        try:
            if together:
                tasks.extend(spec.pool.start_many(spec, list(calls)))
                return
            for args in calls:
                tasks.append(spec.pool.start(spec, args, None))
        except BaseException:
            cancel_unstarted(tasks)
            raise

    def _spec(self, fn: Any, once: bool = False) -> TaskSpec:
        """Return the spec for calls of a function.

        :param once: True if there is only one call.
        :raises InvalidTypeError: (a TypeError) the function cannot run in this pool.
        :raises ClosedError: (a RuntimeError) the executor is shut down.
        """
        if self._shutdown:
            raise self._refusal()
        keeps = _is_permanent(fn)
        spec = self._specs.get(fn) if keeps else None
        if spec is not None:
            return spec
        function = undecorated(fn)
        if not callable(function):
            raise InvalidTypeError(f"{self._name} takes a callable, not {type(fn).__name__}")
        runs_when_called(function)
        if is_coroutine_function(function):
            raise InvalidTypeError(
                f"{name_of(function)} is a coroutine function: it runs in a loop, not in an "
                "executor; await it, or submit a plain function that calls asyncio.run()")
        pool, parts = self._lane.pool, self._parts
        if pool is None or parts is None:   # shutdown() has come meanwhile
            raise self._refusal()
        if not self._size_is_checked:
            self._size_is_checked = True
            self._check_size(pool)
        spec = TaskSpec(pool, function, self._options, self._kind,      # type: ignore[arg-type]
                        lane=self._lane)
        self._prepare(spec, once and not keeps)
        parts.specs.watch(spec)
        if keeps:
            if len(self._specs) >= _KEPT_SPECS:
                self._specs.clear()     # dict operations are atomic; a lost entry is made again
            self._specs[fn] = spec
        return spec

    def _prepare(self, spec: TaskSpec, drops: bool) -> None:
        """Make a new spec suit the options of the executor.

        :param drops: True if its only call is to drop the function, which may refer to much.
        """

    def _check_size(self, pool: Any) -> None:
        """Warn if the pool has fewer slots than the executor may use."""
        priority = self._options.priority
        slots = pool.run_queue.slot_limit(TASK_NORMAL if priority is None else priority)
        limit = self._lane.limit
        if limit is not None and limit > slots:
            kind = "set_thread_pool" if self._kind == TT_THREAD else "set_mp_pool"
            log.warning("%s: max_workers is %d, but %s has only %d slots for calls of its priority;"
                        " raise pool_size by %s()", self._name, limit, pool.name, slots, kind)

    # -- the end -----------------------------------------------------------------------------------

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls. The pool of the supervisor goes on.

        :param wait: block until the calls of this executor have ended (default: True). A pool
            thread lends its slot meanwhile.
        :param cancel_futures: cancel the calls that have not begun (default: False).
        """
        self._shutdown = True
        self._specs.clear()         # so that submit() comes to _spec(), which refuses the call
        lane = self._lane
        pool: Any = lane.pool
        if pool is not None:
            lane.close(self._refusal)
            # A task that was accepted before the lane closed is in the registry.
            tasks = pool.tasks_of(lane)
            if cancel_futures:
                cancel_unstarted(tasks)
            if wait:
                for task in tasks:
                    if not task.done():
                        task._end(None)
            pool.lane_events.end(lane)
        self._release_supervisor(wait)

    def _release_supervisor(self, wait: bool) -> None:
        """Let go of the supervisor."""

    def _refusal(self) -> Exception:
        return ClosedError(f"{self._name} was shut down and takes no more calls; make another one")

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if isinstance(error, KeyboardInterrupt) and self._parts is not None:
            self._parts.pools.report_running(self._parts.state.supervisor_id)
        self.shutdown(wait=True)

    def __del__(self) -> None:
        pool: Any = getattr(getattr(self, "_lane", None), "pool", None)
        if pool is not None and not sys.is_finalizing():
            pool.lane_events.end(self._lane)

    def __repr__(self) -> str:
        return f"<{self._name}{' shut down' * self._shutdown}>"


def _is_permanent(fn: Any) -> bool:
    """Return True if a function lives as long as its module, so that its spec may be kept."""
    if type(fn) is FunctionType:
        return fn.__closure__ is None and "<" not in fn.__qualname__
    return type(fn) is BuiltinFunctionType and isinstance(fn.__self__, ModuleType)


def _results(tasks: deque[Task[Any]], deadline: float | None,
             submit_next: Callable[[], None] | None) -> Iterator[Any]:
    """Yield values in order. Cancel what has not begun when the iterator is closed.

    :param submit_next: called when a result is about to be taken.
    """
    try:
        while True:
            if not tasks:
                return
            if submit_next is not None:
                submit_next()
            # In no variable, as an iterator keeps no value that it has yielded.
            yield _value(tasks, deadline)
    finally:
        cancel_unstarted(tasks)


def _value(tasks: deque[Task[Any]], deadline: float | None) -> Any:
    task = tasks[0]
    try:
        if not task.done() and not task._end(deadline):
            raise WaitTimeoutError(f"map: the result of task {task.name} ({task.short_id}) was not "
                                   "there in time; the calls that have not begun are cancelled")
        tasks.popleft()
        return task.value()
    finally:
        del task, tasks     # the error's traceback refers to this frame: leave no cycle


class ThreadExecutor(_LaneExecutor, ThreadPoolExecutor):
    """A :class:`concurrent.futures.ThreadPoolExecutor` over the thread pool of a supervisor.

    It starts no threads. Its calls are tasks, and its futures those of the tasks. Any thread may
    call it.

    :param max_workers: how many calls may run at once (default: as many as the pool allows).
    :param thread_name_prefix: names a pool thread while it runs a call (default: the thread keeps
        its name).
    :param initializer: called in a pool thread before its first call of this executor (default:
        None). If it fails, the future of the call raises :class:`PoolBrokenError`.
    :param initargs: the arguments of the initializer (default: empty).
    :param priority: the priority of the calls; lower runs first (default: NORMAL).
    :param supervisor: the supervisor to use (default: ``task_supervisor``).
    :raises InvalidTypeError: (a TypeError) an argument has the wrong type.
    :raises InvalidArgumentError: (a ValueError) ``max_workers`` is below 1.

    >>> with ThreadExecutor(max_workers=2) as executor:
    ...     future = executor.submit(pow, 2, 5)
    ...     list(executor.map(abs, [-1, -2])), future.result()
    ([1, 2], 32)
    """

    _kind = TT_THREAD

    @ends_traceback
    def __init__(self, max_workers: int | None = None, thread_name_prefix: str = "",
                 initializer: Callable[..., Any] | None = None, initargs: Sequence[Any] = (), *,
                 priority: int | None = None, supervisor: TaskSupervisor | None = None) -> None:
        plain_or_none("initializer", initializer, "call asyncio.run() in a plain function")
        self._open(supervisor, max_workers, priority)
        ThreadPoolExecutor.__init__(self, max_workers)      # other libraries read its attributes
        if max_workers is None:         # other libraries read it, too
            pool: Any = self._lane.pool
            self._max_workers = min(int(pool.run_queue.slots), 1 << 16)
        self._prefix = thread_name_prefix
        self._call_initializer = initializer
        self._arguments = _checks.initargs(initargs)
        if initializer is not None or thread_name_prefix:
            self._thread_numbers = count()
            self._local = threading.local()

    def _prepare(self, spec: TaskSpec, drops: bool) -> None:
        if drops:
            spec.target = _SingleCall(spec.target, _nothing)
        if self._call_initializer is not None:
            spec.target = AnnouncedFunction(spec.target, self._initialize)
        if self._prefix:
            spec.target = _InNamedThread(spec.target, self._name_thread)

    def _initialize(self) -> None:
        if getattr(self._local, "is_ready", False):
            return
        assert self._call_initializer is not None
        try:
            call_initializer(self._call_initializer, self._arguments)
        except BaseException as error:
            raise PoolBrokenError(
                f"the initializer of {self._name} raised an error in a thread, so the call did not "
                "run there; the next call of the executor in this thread tries the initializer "
                f"again. The error is {described(error)}") from error
        self._local.is_ready = True

    def _name_thread(self) -> None:
        name: str | None = getattr(self._local, "name", None)
        if name is None:
            name = self._local.name = f"{self._prefix}_{next(self._thread_numbers)}"
        threading.current_thread().name = name


class _SingleCall(AnnouncedFunction):
    """A function that is called once, and kept no longer."""

    __slots__ = ()

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.function(*args, **kwargs)
        finally:
            self.function = _nothing


def _nothing() -> None:
    pass


class _InNamedThread(AnnouncedFunction):
    """A function that runs in a thread of another name."""

    __slots__ = ()

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        thread = threading.current_thread()
        name = thread.name
        try:
            return super().__call__(*args, **kwargs)
        finally:
            thread.name = name


class ProcessExecutor(_LaneExecutor):
    """A :class:`concurrent.futures.Executor` over the process pool of a supervisor.

    Its calls are tasks, and its futures those of the tasks. If a process dies, the future of its
    call raises :class:`ProcessDiedError`, and the process is replaced. Any thread may call the
    executor.

    :param max_workers: how many processes may run calls at once (default: as many as the pool
        allows).
    :param mp_context: a context of :mod:`multiprocessing`, or the name of a start method (default:
        that of the supervisor).
    :param initializer: called in each process before its first call (default: None). If it fails in
        several processes in a row, the futures of the waiting calls raise :class:`PoolBrokenError`.
    :param initargs: the arguments of the initializer (default: empty).
    :param max_tasks_per_child: how many calls a process runs before it is replaced (default: no
        limit).
    :param priority: the priority of the calls; lower runs first (default: NORMAL).
    :param supervisor: the supervisor to use (default: ``task_supervisor``).
    :param serializer: a module with ``dumps`` and ``loads``, such as ``cloudpickle``, for functions
        of notebooks, lambdas and closures (default: :mod:`pickle`).
    :raises InvalidTypeError: (a TypeError) an argument has the wrong type.
    :raises InvalidArgumentError: (a ValueError) an argument has an impossible value, or
        ``supervisor`` is given together with an option for processes.

    With ``mp_context``, ``initializer``, ``max_tasks_per_child`` or ``serializer``, the executor
    starts processes of its own, which end at its :meth:`shutdown`.

    >>> with ProcessExecutor(max_workers=1) as executor:
    ...     future = executor.submit(pow, 2, 5)
    ...     list(executor.map(abs, [-1, -2])), future.result()
    ([1, 2], 32)
    """

    _kind = TT_MP

    @ends_traceback
    def __init__(self, max_workers: int | None = None, mp_context: Any = None,
                 initializer: Callable[..., Any] | None = None, initargs: Sequence[Any] = (), *,
                 max_tasks_per_child: int | None = None, priority: int | None = None,
                 supervisor: TaskSupervisor | None = None,
                 serializer: SerializerModule | None = None) -> None:
        plain_or_none("initializer", initializer, "call asyncio.run() in a plain function")
        options = {"mp_context": mp_context, "initializer": initializer,
                   "max_tasks_per_child": max_tasks_per_child, "serializer": serializer}
        given = [name for name, value in options.items() if value is not None]
        self._own = bool(given)
        if given:
            if supervisor is not None:
                raise InvalidArgumentError(
                    f"{given[0]} and supervisor exclude each other: it is an option of processes, "
                    "and those of the supervisor are shared; give it to set_mp_pool() of the "
                    "supervisor, or leave supervisor out")
            max_workers = _checks.count_or_none("max_workers", max_workers)
            limit = _checks.count_or_none("max_tasks_per_child", max_tasks_per_child)
            supervisor = TaskSupervisor(f"executor-{next(_numbers)}")
            supervisor.create_mp_pool(max_workers, initializer, initargs, limit, mp_context,
                                      serializer=serializer)
        self._open(supervisor, max_workers, priority)
        pool: Any = self._lane.pool
        self._max_workers = max_workers or int(pool.run_queue.slots)

    def _release_supervisor(self, wait: bool) -> None:
        supervisor, self._supervisor = self._supervisor, None
        if self._own and supervisor is not None:
            if wait:
                supervisor.stop()
        # Without a reference, a supervisor of the executor's own ends after its last task.
        self._parts = None
