"""TaskSupervisor: a facade over its parts, which ``parts.py`` puts together.

The only attributes of a supervisor are its public ones and ``_supervisor_parts``: applications
derive from the class, and their attributes and methods must not replace any that the package needs.
"""
from __future__ import annotations

from itertools import count

from .. import _modes
from .._checks import cut_frames, ends_tracebacks, hashable, initargs as checked_initargs
from .._core_errors import SupervisorError
from .._habits import NoExecutor
from ..constants import TASK_NORMAL, TT_THREAD, TaskType
from ..engine.task import Task
from .attributes import (TIMEOUT_MESSAGE, InternalMethods, late_limit, live_task, process_pool,
                         replaceable, size_of)
from .interpreter_exit import follow_threads, supervisors
from .unmade_parts import NOT_MADE, PartsOnFirstUse

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from types import TracebackType
    from typing import Any, Callable, Coroutine, Mapping, Sequence, TypeVar, overload

    from typing_extensions import Literal, Unpack

    from .._checks import Seconds
    from ..engine.lanes import Lane
    from ..jobs import AsyncJob, AsyncJobScheduler, JobOptions
    from ..loops import ALoop
    from ..options import LaneSettings, OnFull
    from ..pools.process.serializer import SerializerModule
    from ..pools.views import ThreadPoolView
    from .parts import Parts
    from .stats import Info, Stats, StopReport

    R = TypeVar("R")
    StartMethod = Literal["forkserver", "spawn", "fork"]


_numbers = count(1)


@ends_tracebacks("put_task")
class TaskSupervisor(InternalMethods, NoExecutor):
    """Admits, orders, starts, watches and finishes tasks.

    Applications use the process-wide ``task_supervisor``. Applications may make more supervisors,
    and subclasses. Any thread may call all methods. A supervisor starts with its first task, or
    with :meth:`start`. As a context manager it stops at the end of the block.

    :param supervisor_id: a name for threads and logs (default: a numbered one).
    :param pool_size: slots of the thread pool for tasks of any priority (default: five for each
        CPU); 0 sets no limit.
    :param reserve_normal: more slots, for tasks of priority NORMAL and higher (default: 5).
    :param reserve_high: more slots, for tasks of priority HIGH and higher (default: 5).

    >>> with TaskSupervisor(pool_size=2) as supervisor:
    ...     supervisor.put_task(pow, (2, 10)).value()
    1024
    """

    #: The log message about a late start. It may name supervisor_id, task_id, name, target and
    #: time_spent.
    timeout_message = TIMEOUT_MESSAGE

    #: Called with a task that started later than ``timeout_warning`` after it was queued.
    timeout_warning_func: Callable[[Task[Any]], Any] | None = None
    #: The same for ``timeout_critical``.
    timeout_critical_func: Callable[[Task[Any]], Any] | None = None

    daemon: bool = False        # start() sets it
    poll_delay: float = 0.1     # accepted for old applications: nothing here polls

    _supervisor_parts: Parts = NOT_MADE     # until __init__() has come to its end

    def __init__(self, supervisor_id: str | None = None, pool_size: int | None = None,
                 reserve_normal: int | None = None, reserve_high: int | None = None) -> None:
        self.id: str = supervisor_id or f"supervisor-{next(_numbers)}"
        self._supervisor_parts = _make_parts(self, pool_size=pool_size,
                                             reserve_normal=reserve_normal,
                                             reserve_high=reserve_high)
        supervisors.add(self)

    def __del__(self) -> None:
        self._supervisor_parts.hand_over(self)

    # -- lifecycle -----------------------------------------------------------------------------

    def start(self, daemon: bool | None = None) -> None:
        """Accept and run tasks. If the supervisor is running, nothing changes.

        A supervisor that is started this way accepts tasks after the main thread has ended. It
        keeps the program alive while workers or schedulers are active, or other non-daemon threads
        live; the first Ctrl-C stops the workers. Any thread may call it.

        :param daemon: True for a supervisor that ends with the main thread; kept in
            ``self.daemon`` (default: False).
        :raises SupervisorStoppedError: (a RuntimeError) the supervisor is being stopped, or the
            main thread has ended.
        """
        follow_threads()
        parts = self._supervisor_parts
        with parts.state.lock:
            self.daemon = self.daemon if daemon is None else daemon
            parts.pools.start()
            parts.state.explicit = True
        parts.pools.warm_up()

    @replaceable
    def is_active(self) -> bool:
        """True between start and stop."""
        return self._supervisor_parts.state.is_running()

    @replaceable
    def started(self) -> float | None:
        """The time of the last start in epoch seconds; None before the first one."""
        return self._supervisor_parts.state.started_at

    def stop(self, wait: bool | Seconds = True, stop_schedulers: bool = True,
             cancel_tasks: bool = False, drain: bool | None = None) -> StopReport:
        """Accept no more tasks, finish the accepted ones, and end all threads, processes and loops.

        The stages:

        1. Stop all workers. Queue workers first finish the items that are in their queues by now.
           Tasks are accepted meanwhile, since the workers' functions may submit some.
        2. Refuse new tasks, and cancel those that are delayed or wait for a retry.
        3. Wait for the other tasks, until the deadline.

        Past the deadline, cancel queued tasks and end the processes of running ones: TERM, and KILL
        a second later. Abandon the threads that still run; their tasks count as cancelled. After
        2.5 s more at most everything is closed. Without a deadline, a task that never ends
        blocks the stop without limit.

        :param wait: True waits without limit, a number that many seconds (default: True). False
            returns at once, and the stop continues in a thread of its own. In a task of the
            supervisor, it counts as False: a task does not wait for itself.
        :param stop_schedulers: False does not stop registered schedulers (default: True). Workers
            end in any case, since the supervisor accepts no tasks of theirs. Async jobs end with
            the last task.
        :param cancel_tasks: cancel queued and running tasks (default: False). Queue workers do not
            finish their items either.
        :param drain: False stops queue workers at once (default: True; under ``legacy.install()``
            False, as in atasker).
        :return: what became of the tasks. Workers that leave items in their queues are logged, too.
        """
        return self._supervisor_parts.shutdown.stop(self, wait, stop_schedulers, cancel_tasks,
                                                    drain)

    def cancel_waiting(self) -> int:
        """Cancel every task that has not started; return their number."""
        return self._supervisor_parts.pools.cancel_waiting()

    def block(self) -> None:
        """Wait until the supervisor has been stopped.

        Under ``legacy.install()`` and ``exec``, the call returns at once if the supervisor has not
        been started, as in atasker.
        """
        state = self._supervisor_parts.state
        if not (_modes.legacy and state.is_new()):
            state.stopped.wait()

    def __enter__(self) -> TaskSupervisor:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._supervisor_parts.pools.report_running(self.id)
        self.stop(cancel_tasks=error is not None)

    # -- pools ---------------------------------------------------------------------------------

    def set_thread_pool(self, pool_size: int | None = None, reserve_normal: int | None = None,
                        reserve_high: int | None = None,
                        min_size: int | Literal["max"] | None = None,
                        max_size: int | None = None, max_queued: int | None = None,
                        on_full: OnFull | None = None, aging: Seconds | None = None,
                        max_abandoned: int | None = None) -> None:
        """Set the slots of the thread pool. An argument that is left out keeps its value.

        :param pool_size: slots for tasks of any priority (default: five for each CPU); 0 sets no
            limit.
        :param reserve_normal: more slots, for tasks of priority NORMAL and higher (default: 5).
        :param reserve_high: more slots, for HIGH tasks (default: 5). CRITICAL tasks start in any
            case.
        :param min_size: threads made ahead (default: 0); ``'max'`` for as many as there are slots.
        :param max_size: idle threads kept at most (default: as many as there are slots).
        :param max_queued: tasks that may wait for a slot (default: 0, no limit). Tasks that need
            not wait, and delayed ones, do not count.
        :param on_full: the effect of a submission when that many tasks wait (default: ``'block'``).
            ``'block'`` makes the submitter wait; in a coroutine, that blocks the loop. ``'raise'``
            raises :class:`QueueFullError`. ``'drop'`` cancels the task at once.
        :param aging: seconds after which a waiting task rises one class, from LOW to NORMAL to HIGH
            (default: 0, never).
        :param max_abandoned: threads that may still run functions whose timeout is over (default:
            1000; 0 sets no limit). Above it, submitting raises :class:`TaskTimeoutError`.
        :raises InvalidArgumentError: (a ValueError) a size below zero, or min_size above max_size.
        """
        self._supervisor_parts.pools.set_threads(
            min_size, max_queued, on_full, aging, max_abandoned, pool_size=pool_size,
            reserve_normal=reserve_normal, reserve_high=reserve_high, max_size=max_size)

    def set_mp_pool(self, pool_size: int | None = None, reserve_normal: int | None = None,
                    reserve_high: int | None = None, min_size: int | Literal["max"] | None = None,
                    start_method: StartMethod | None = None, max_queued: int | None = None,
                    on_full: OnFull | None = None, aging: Seconds | None = None,
                    initializer: Callable[..., Any] | None = None, initargs: Sequence[Any] = (),
                    initializer_timeout: Seconds | None = None, maxtasksperchild: int | None = None,
                    max_age: Seconds | None = None, max_memory: int | None = None,
                    serializer: SerializerModule | None = None,
                    prefetch: int | None = None) -> None:
        """Set the slots of the process pool, as :meth:`set_thread_pool`; make it if there is none.

        Processes start at the first task. With ``min_size``, that many start at once. Under
        ``exec`` and ``legacy.install()``, all are forked before this returns.

        With an executor of the application in its position (see :attr:`mp_pool`), the slots are
        the calls that the executor is given at a time. Options of the processes raise an error.

        :param pool_size: slots for tasks of any priority (default: one for each CPU).
        :param reserve_normal: slots, as for threads (default: 0).
        :param reserve_high: slots, as for threads (default: 0).
        :param min_size: processes that start ahead of the first task (default: 0): a number, or
            ``'max'`` for one for each slot.
        :param start_method: ``'forkserver'``, ``'spawn'`` or ``'fork'`` (default: ``'forkserver'``
            where there is one). ``'fork'`` copies a process with threads, which can deadlock: ask
            for it only if you know why. Processes that were started by another method are replaced
            when they have ended their tasks.
        :param max_queued: tasks that may wait, as for threads, except those sent to a process
            (default: 0, no limit).
        :param on_full: ``'block'``, ``'raise'`` or ``'drop'``, as for threads (default:
            ``'block'``).
        :param aging: seconds after which a waiting task rises one class, as for threads (default:
            0, never).
        :param initializer: called in every new process, with ``*initargs``, before its first task
            (default: None). If it fails three times in a row, the waiting tasks fail with its
            error.
        :param initargs: the arguments of the initializer (default: empty).
        :param initializer_timeout: seconds until a process must be ready (default: 120; 0: never).
        :param maxtasksperchild: a process is replaced after that many tasks (default: 0, never).
        :param max_age: a process is replaced after that many seconds, between two tasks (default:
            0, never).
        :param max_memory: a process is replaced when it has that many bytes in memory after a task
            (default: 0, never). Without ``/proc`` nothing happens.
        :param serializer: a module with ``dumps`` and ``loads``, such as ``cloudpickle``, for
            lambdas, closures and functions of notebooks (default: :mod:`pickle`).
        :param prefetch: calls of any length for each slot that an assigned executor receives before
            a slot is free (default: short calls only).
        """
        self._supervisor_parts.processes.configure(
            {"pool_size": pool_size, "reserve_normal": reserve_normal,
             "reserve_high": reserve_high}, min_size, max_queued, on_full, aging,
            start_method=start_method, initializer=initializer, initargs=initargs,
            initializer_timeout=initializer_timeout, maxtasksperchild=maxtasksperchild,
            max_age=max_age, max_memory=max_memory, serializer=serializer, prefetch=prefetch)

    def create_mp_pool(self, processes: int | None = None,
                       initializer: Callable[..., Any] | None = None, initargs: Sequence[Any] = (),
                       maxtasksperchild: int | None = None, context: Any = None,
                       executor: Any = None, serializer: SerializerModule | None = None) -> None:
        """Make the process pool, with the arguments of :class:`~multiprocessing.pool.Pool`.

        :param processes: slots for tasks of any priority (default: one for each CPU).
        :param initializer: called in every new process, with ``*initargs``, before its first task
            (default: None).
        :param initargs: the arguments of the initializer (default: empty).
        :param maxtasksperchild: a process is replaced after that many tasks (default: None, never).
        :param context: a multiprocessing context, or the name of a start method (default: that of
            :meth:`set_mp_pool`).
        :param executor: an executor that takes the position of the pool, see :attr:`mp_pool`
            (default: None, the supervisor's own processes). Then ``processes`` is the number of
            calls that it receives at a time, and the other arguments raise an error.
        :param serializer: a module with ``dumps`` and ``loads``, as in :meth:`set_mp_pool`
            (default: :mod:`pickle`).
        """
        self._supervisor_parts.processes.create(
            processes, executor, checked_initargs(initargs), initializer=initializer,
            maxtasksperchild=maxtasksperchild, context=context, serializer=serializer)

    @property
    def thread_pool(self) -> ThreadPoolView:
        """The thread pool as an executor: it has ``submit``, ``map`` and ``shutdown``."""
        return self._supervisor_parts.pools.view_of_threads(self)

    @thread_pool.setter
    def thread_pool(self, executor: Any) -> None:
        self._supervisor_parts.pools.limit_threads_as(executor)

    mp_pool: Any = process_pool
    thread_pool_size: int = size_of("thread", "pool_size")
    thread_reserve_normal: int = size_of("thread", "reserve_normal")
    thread_reserve_high: int = size_of("thread", "reserve_high")
    mp_pool_size: int = size_of("mp", "pool_size")
    mp_reserve_normal: int = size_of("mp", "reserve_normal")
    mp_reserve_high: int = size_of("mp", "reserve_high")

    # -- tasks ---------------------------------------------------------------------------------

    if TYPE_CHECKING:
        @overload
        def put_task(self, target: Callable[..., Coroutine[Any, Any, R]],
                     args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None,
                     callback: Callable[[R], Any] | None = None, priority: int = TASK_NORMAL,
                     delay: Seconds | None = None, tt: TaskType = TT_THREAD,
                     task_id: str | None = None, worker: Any = None,
                     _send_task_id: bool = True) -> Task[R]: ...

        @overload
        def put_task(self, target: Callable[..., R], args: Sequence[Any] = (),
                     kwargs: Mapping[str, Any] | None = None,
                     callback: Callable[[R], Any] | None = None, priority: int = TASK_NORMAL,
                     delay: Seconds | None = None, tt: TaskType = TT_THREAD,
                     task_id: str | None = None, worker: Any = None,
                     _send_task_id: bool = True) -> Task[R]: ...

    def put_task(self, target: Callable[..., Any], args: Sequence[Any] = (),
                 kwargs: Mapping[str, Any] | None = None,
                 callback: Callable[[Any], Any] | None = None, priority: int = TASK_NORMAL,
                 delay: Seconds | None = None, tt: TaskType = TT_THREAD, task_id: str | None = None,
                 worker: Any = None, _send_task_id: bool = True) -> Task[Any]:
        """Submit a call and return its task.

        A subclass may override this method. Then decorated functions, workers and
        :func:`co_mp_apply` submit their tasks by it, too, with keyword arguments. Coroutines do
        not: they need no slot of a pool.

        :param target: the function; if its signature takes ``_task_id``, it receives the id.
        :param args: its positional arguments (default: empty).
        :param kwargs: its keyword arguments (default: None).
        :param callback: called with the result before the completion is announced (default: None).
        :param priority: any integer; lower runs first (default: NORMAL).
        :param delay: seconds until it may start (default: None, at once).
        :param tt: ``TT_THREAD``, ``TT_MP``, or ``TT_COROUTINE`` (default: ``TT_THREAD``).
        :param task_id: an id of the caller's own, not used by a live task (default: a new one).
        :param worker: accepted for old applications (default: None).
        :param _send_task_id: False passes no ``_task_id``; accepted for old subclasses.
        :raises SupervisorStoppedError: the supervisor has been stopped; the function never runs.
        """
        try:
            return self._supervisor_parts.specs.put(target, args, kwargs, callback, priority, delay,
                                                    tt, task_id, worker, _send_task_id)
        except SupervisorError as error:
            cut_frames(error)
            raise

    def lane(self, name: str, **settings: Unpack[LaneSettings]) -> Lane:
        """Return the lane of a name: a limit in front of a pool, for ``@background_task(lane=)``.

        The first call makes it. Pass settings of :class:`Lane` at the first call or later. A
        setting that is left out keeps its value. A function may name a lane that is made later,
        before its first task is submitted; see :class:`BoundTask`. Errors as the constructor's of
        :class:`Lane`. Any thread may call it.

        :param name: the name of the lane.

        >>> task_supervisor.lane('mail', limit=4, rate=10)
        <Lane mail running 0 waiting 0>
        """
        return self._supervisor_parts.specs.lane(name, **settings)

    def get_lanes(self) -> dict[str, Lane]:
        """Return the lanes that :meth:`lane` has made, by name. Any thread may call it."""
        return self._supervisor_parts.specs.lanes()

    def mark_task_completed(self, task: Task[Any] | None = None,
                            task_id: str | None = None) -> bool:
        """Declare a task completed, before its target returns.

        Its result is None, or the object that was assigned to ``task.result``. A subclass may
        override this method. Then it is called for each task of a thread or a process that ends by
        itself, before the end is announced. The call has ``task_id=``, or ``task=`` for the run
        of a worker.

        :param task: the task (default: None); or give its id.
        :param task_id: the id of the task (default: None); or give the task.
        :return: False if the task has ended already.
        :raises TaskNotFoundError: (a LookupError) no live task has the id.
        """
        return live_task(self, task, task_id).mark_completed()

    def mark_task_started(self, task: Task[Any] | str) -> bool:
        """Return True if a task is started. The supervisor marks the start by itself.

        A subclass may override this method. Then each start in a thread or process calls it.

        :param task: the task or its id.
        """
        return live_task(self, task).mark_started()

    def get_task(self, task_id: str) -> Task[Any] | None:
        """Return the live task with an id; None for one that has ended or never was.

        :param task_id: the id of a task.
        """
        return self._supervisor_parts.pools.find(task_id)

    def get_tasks(self, tt: TaskType | None = None) -> dict[str, Task[Any]]:
        """Return the live tasks by id, of all kinds or of one.

        A pickle of the answer holds plain copies, see :class:`Info`.

        :param tt: a kind of task (default: None, all).
        """
        return self._supervisor_parts.pools.live_tasks(tt)

    # -- results that outlive their tasks ------------------------------------------------------

    def set_result_backend(self, backend: Any) -> None:
        """Have a backend keep the results of all tasks that end from now on.

        It does not keep those of tasks with ``ignore_result``. The results of the former backend
        are stored when this returns.

        :param backend: a :class:`Backend`, such as ``SQLiteBackend(path)``; None for none.
        :raises ResultBackendError: (an OSError) its store cannot be used; nothing has changed.
        :raises InvalidTypeError: (a TypeError) it is no backend.
        """
        self._supervisor_parts.pools.set_backend(backend, self)

    @replaceable
    def result_backend(self) -> Any:
        """The backend that keeps results, or None."""
        return self._supervisor_parts.pools.backend

    # -- looking at it -------------------------------------------------------------------------

    def get_info(self, tt: Any = None, aloops: bool = True, schedulers: bool = True,
                 async_job_schedulers: bool = True) -> Info:
        """Return sizes, running tasks, loops and schedulers, as a frozen :class:`Info`.

        :param tt: a kind of task to list (default: None, all); False lists none.
        :param aloops: False leaves these out (default: True).
        :param schedulers: False leaves these out (default: True).
        :param async_job_schedulers: False leaves these out (default: True).
        """
        return self._supervisor_parts.info(self, tt, aloops, schedulers, async_job_schedulers)

    def stats(self) -> Stats:
        """Return depths, counts and percentiles of times, as a frozen :class:`Stats`."""
        return self._supervisor_parts.stats()

    def dump(self, file: Any = None) -> None:
        """Write the stacks of all running tasks.

        Processes are asked for theirs, which also works in C code that holds the interpreter. It
        takes up to a second if one does not answer. A signal handler may call it.

        :param file: a text file (default: :data:`sys.stderr`).
        """
        from .tracebacks import write_stacks

        write_stacks(self.id, self._supervisor_parts, file)

    def dump_on_signal(self, signum: int | None = None, file: Any = None) -> None:
        """Call :meth:`dump` whenever a signal comes: ``kill -USR1 PID`` shows the running tasks.

        :param signum: the signal (default: SIGUSR1).
        :param file: a text file (default: :data:`sys.stderr`).
        :raises ValueError: not the main thread calls, as :func:`signal.signal` requires.
        """
        import signal

        signum = getattr(signal, "SIGUSR1") if signum is None else signum
        signal.signal(signum, lambda *_: self.dump(file))

    # -- loops ---------------------------------------------------------------------------------

    def create_aloop(self, name: str, daemon: bool = False, start: bool = True,
                     default: bool = False) -> ALoop | bool:
        """Make an event loop in a thread of its own; return False if the name is taken.

        :param name: a name that no loop has.
        :param daemon: accepted for old applications (default: False).
        :param start: False leaves the start to :meth:`start_aloop` (default: True).
        :param default: coroutine tasks that name no loop run in this one (default: False).
        :raises InvalidArgumentError: (a ValueError) the name ``__supervisor__``, which is reserved.
        :raises SupervisorStoppedError: (a RuntimeError) the supervisor has been stopped, and the
            loop is to be started.
        """
        return self._supervisor_parts.pools.loops.create(name, start, default, daemon)

    def get_aloop(self, name: str | None = None, default: bool = True) -> ALoop | None:
        """Return a loop by name; without a name, the default loop.

        :param name: the name of the loop (default: None).
        :param default: False returns None for no name (default: True).
        """
        return self._supervisor_parts.pools.loops.get(hashable("name", name), default)

    def start_aloop(self, name: str) -> bool:
        """Start a loop by name; return False if there is none.

        :param name: the name of the loop.
        :raises SupervisorStoppedError: (a RuntimeError) the supervisor has been stopped.
        """
        return self._supervisor_parts.pools.loops.start(name)

    def stop_aloop(self, name: str, wait: bool | Seconds = True,
                   cancel_tasks: bool = False) -> bool:
        """Stop a loop by name; return False if there is none.

        :param name: the name of the loop.
        :param wait: as for :meth:`ALoop.stop`, in seconds (default: True).
        :param cancel_tasks: as for :meth:`ALoop.stop` (default: False).
        """
        return self._supervisor_parts.pools.loops.stop(name, wait, cancel_tasks)

    def set_default_aloop(self, aloop: ALoop | str | asyncio.AbstractEventLoop | None) -> None:
        """Choose the loop of coroutine tasks that name none.

        :param aloop: an :class:`ALoop`, its name, or an asyncio loop; None for the supervisor's own
            loop.
        :raises InvalidArgumentError: (a ValueError) there is no loop of that name.
        """
        self._supervisor_parts.pools.loops.set_default(aloop)

    def get_aloops(self) -> dict[str, ALoop]:
        """Return the loops by name. A pickle of it holds plain copies, see :class:`Info`."""
        return self._supervisor_parts.pools.aloops()

    @property
    def aloops(self) -> dict[str, ALoop]:
        """The loops by name: the supervisor's own dict. Delete a stopped loop to free its name."""
        return self._supervisor_parts.pools.loops.aloops

    @property
    def default_aloop(self) -> Any:
        """The loop of coroutine tasks that name none; None is the supervisor's own loop.

        It may be assigned.

        >>> task_supervisor.default_aloop = task_supervisor.create_aloop('mine')
        >>> task_supervisor.default_aloop.name
        'mine'
        >>> task_supervisor.default_aloop = None
        """
        return self._supervisor_parts.pools.loops.default

    @default_aloop.setter
    def default_aloop(self, aloop: ALoop | str | asyncio.AbstractEventLoop | None) -> None:
        self._supervisor_parts.pools.loops.set_default(aloop)

    @property
    def event_loop(self) -> asyncio.AbstractEventLoop:
        """The supervisor's own event loop, started on first use."""
        return self._supervisor_parts.pools.loops.own().active_loop()

    # -- schedulers ----------------------------------------------------------------------------

    def register_sync_scheduler(self, scheduler: Any) -> bool:
        """Have ``scheduler.stop()`` called when the supervisor stops. Workers register themselves.

        :param scheduler: an object with a method ``stop()``.
        :return: True.
        :raises InvalidTypeError: (a TypeError) it has no ``stop()``.
        """
        return self._supervisor_parts.schedulers.add(scheduler)

    def unregister_sync_scheduler(self, scheduler: Any) -> bool:
        """Forget a scheduler; return False if it is not registered.

        :param scheduler: the registered object.
        """
        return self._supervisor_parts.schedulers.remove(scheduler, cancel_loops=False)

    def register_scheduler(self, scheduler: Any) -> bool:
        """Run the coroutines of a scheduler, and stop it with the supervisor.

        The coroutine ``scheduler.loop()``, and the methods that ``scheduler.extra_loops`` names,
        run in ``scheduler.worker_loop`` (default: the supervisor's default loop).

        :param scheduler: an object with ``stop()`` and the coroutine function ``loop()``.
        :return: False if the supervisor is not active, or, with an error in the log, if the
            scheduler is registered already.
        :raises InvalidTypeError: (a TypeError) it has no ``stop()`` or no ``loop()``.
        """
        parts = self._supervisor_parts
        return parts.schedulers.add_with_loops(scheduler, self, parts.pools.loops.resolve)

    def unregister_scheduler(self, scheduler: Any) -> bool:
        """Forget a scheduler, and cancel its loops; return False if it is not registered.

        :param scheduler: the registered object.
        """
        return self._supervisor_parts.schedulers.remove(scheduler)

    def get_schedulers(self) -> dict[Any, Any]:
        """Return the active workers and the registered schedulers, as keys.

        The value is None, or for a scheduler with loops a tuple of the scheduler and their futures.
        A pickle of the answer holds plain copies, see :class:`Info`.
        """
        return self._supervisor_parts.schedulers.by_scheduler()

    def create_async_job_scheduler(self, name: str, aloop: Any = None, start: bool = True,
                                   default: bool = False) -> AsyncJobScheduler | bool:
        """Make a scheduler of light periodic coroutines.

        :param name: a name that no scheduler has.
        :param aloop: where they run: the name of a loop, an :class:`ALoop` or an asyncio loop
            (default: the default loop).
        :param start: False has its jobs wait for ``start()`` (default: True).
        :param default: jobs that name no scheduler are for this one (default: False).
        :return: the scheduler; False, and an error in the log, if the name is taken.
        :raises InvalidArgumentError: (a ValueError) a reserved name, or no such loop.
        """
        return self._supervisor_parts.jobs.create(name, aloop, start, default, self)

    def set_default_async_job_scheduler(self, scheduler: AsyncJobScheduler | str | None) -> None:
        """Choose the scheduler of jobs that name none. With None, it is made when it is needed.

        :param scheduler: a scheduler, its name, or None.
        """
        self._supervisor_parts.jobs.set_default(scheduler, self)

    @property
    def default_async_job_scheduler(self) -> AsyncJobScheduler | None:
        """The scheduler of jobs that name none; None before one is needed. It may be assigned."""
        return self._supervisor_parts.jobs.default

    @default_async_job_scheduler.setter
    def default_async_job_scheduler(self, scheduler: AsyncJobScheduler | str | None) -> None:
        self.set_default_async_job_scheduler(scheduler)

    @property
    def async_job_schedulers(self) -> dict[str, AsyncJobScheduler]:
        """The schedulers of async jobs by name: the supervisor's own dict."""
        return self._supervisor_parts.jobs.by_name

    def create_async_job(self, scheduler: AsyncJobScheduler | str | None = None,
                         **options: Unpack[JobOptions]) -> AsyncJob:
        """Have a coroutine started periodically.

        :param scheduler: a scheduler or its name (default: the default one, which is made if there
            is none).
        :param target: a coroutine function.
        :param args: positional arguments for it.
        :param kwargs: keyword arguments for it.
        :param interval: seconds from one start to the next; 0.001 at least.
        :param number: the number of starts; 0, the default, sets no limit.
        :param timer: seconds until the first start (default: 0).
        :return: the job, which has ``id``, ``active`` and ``cancel()``.
        :raises InvalidTypeError: (a TypeError) target is no coroutine function, or a wrong type.
        :raises InvalidArgumentError: (a ValueError) an impossible value, or no such scheduler.
        """
        return self._supervisor_parts.jobs.create_job(scheduler, self, **options)

    def cancel_async_job(self, scheduler: AsyncJobScheduler | str | None = None,
                         job: AsyncJob | None = None) -> bool:
        """Start a job no more; the same as ``job.cancel()``.

        When this returns, no run of it begins any more.

        :param scheduler: accepted for old applications (default: None).
        :param job: the job to cancel (default: None).
        :return: False if it had ended already, or none is given.
        """
        return self._supervisor_parts.jobs.cancel(job)

    timeout_warning: float | None = late_limit(
        "warning", "Seconds after which a start is late, counted from the submission, and logged "
                   "(default: 5). None never logs.")
    timeout_critical: float | None = late_limit(
        "critical", "Seconds, as :attr:`timeout_warning`, after which a late start is logged as an "
                    "error (default: 10).")

    def __repr__(self) -> str:
        parts = self._supervisor_parts
        phase = "new" if isinstance(parts, PartsOnFirstUse) else parts.state.phase
        return f"<{type(self).__name__} {self.id} {phase}>"


def _make_parts(supervisor: Any, **sizes: int | None) -> Parts:
    # Here, so that the import of the package does not load the pools.
    from .parts import Parts

    return Parts(supervisor, TaskSupervisor, **sizes)


def made_on_first_use(supervisor_id: str) -> TaskSupervisor:
    """Return a supervisor of the default sizes whose parts its first use makes."""
    supervisor = TaskSupervisor.__new__(TaskSupervisor)
    supervisor.id = supervisor_id
    unmade: Any = PartsOnFirstUse(supervisor, _make_parts)
    supervisor._supervisor_parts = unmade
    return supervisor
