"""Event loops that run in threads of their own."""
from __future__ import annotations

import threading
import weakref
from collections.abc import Coroutine
from functools import partial

from . import _modes
from ._atomics import RLock
from ._checks import a_kind, cut_frames, ends_tracebacks
from ._inspect import described, has_method, name_of, traceback_of
from ._log import log
from ._patched import why_no_loops
from ._threads import PackageThread
from .engine.blocking import Latch, deadline_of_stop, remaining
from .engine.task import Task
from .engine.wait_graph import LoopRun, block_on
from .engine.waits import WaitedCall
from .errors import InvalidArgumentError, InvalidTypeError, SupervisorError, SupervisorStoppedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future
    from typing import Any, Callable, Protocol

    from ._checks import Seconds
    from ._generics import T

    class CoroutineStarter(Protocol):
        """The coroutine pool as a loop sees it."""

        def start_coroutine(self, coro: Coroutine[Any, Any, Any], loop: ALoop) -> Task[Any]: ...

__all__ = ["ALoop", "LoopRegistry", "call_in", "unawaited"]


#: Seconds that cancelled coroutines get to end.
LAST_GRACE = 1.0


class _TaskSet:
    """A set of asyncio tasks that it does not keep alive. For any thread."""

    def __init__(self) -> None:
        self._lock = RLock()      # guards the set
        self._tasks: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, task: asyncio.Task[Any]) -> None:
        with self._lock:
            self._tasks.add(task)

    def __contains__(self, task: asyncio.Task[Any]) -> bool:
        with self._lock:
            return task in self._tasks


def call_in(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *arguments: Any) -> bool:
    """Have a loop call a function, from any thread; return False if the loop is closed."""
    try:
        loop.call_soon_threadsafe(call, *arguments)
    except RecursionError:      # a RuntimeError, too
        raise
    except RuntimeError:
        return False
    return True


#: Tasks that a loop does not wait for when it is stopped: they may wait without limit.
unawaited: _TaskSet = _TaskSet()


class _RunningLoop:
    """An asyncio loop that runs in its thread, and the coroutines that ALoop.run() waits for.

    asyncio ends a loop in which code raises SystemExit or KeyboardInterrupt. Here the loop goes on,
    and the error belongs to the asyncio task that raised it. If the loop ends all the same, each
    wait ends with an error.
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._name = name
        self._stopped = False               # the loop ends after its current iteration
        self._stop_tasks: set[asyncio.Task[None]] = set()       # asyncio keeps no task alive
        # The futures of the waits, each with its coroutine, and its asyncio task once that is made.
        # Shared without a lock: each operation of a dict is atomic. A wait is entered first, then
        # the flag is read. The end sets the flag first, then takes all waits.
        self._awaited: dict[Future[Any], tuple[Coroutine[Any, Any, Any], Any]] = {}
        self._ended = False

    # -- in the loop's thread ----------------------------------------------------------------------

    def run_until_stopped(self) -> BaseException | None:
        """Run the loop. Return the error that has ended it, or None after a stop."""
        while not self._stopped:
            try:
                self.loop.run_forever()
                return None
            except (SystemExit, KeyboardInterrupt) as error:
                self._report(error)
            except BaseException as error:  # its files are closed, for example
                log.exception("loop %s has ended, since asyncio raised %s", self._name,
                              described(error))
                return error
        return None

    def _begin_stop(self, deadline: float | None, cancel_tasks: bool) -> None:
        if not self._stopped:       # else the loop may be closed before the task ends
            self._stop_tasks.add(self.loop.create_task(self._stop(deadline, cancel_tasks)))

    async def _stop(self, deadline: float | None, cancel_tasks: bool) -> None:
        import asyncio

        others = [task for task in asyncio.all_tasks()
                  if task not in self._stop_tasks and task not in unawaited]
        if others and not cancel_tasks:
            await asyncio.wait(others, timeout=remaining(deadline))
        await _cancel_others(LAST_GRACE)
        self._stopped = True
        self.loop.stop()

    def run_until_complete(self, coro: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine after the loop has been stopped."""
        task = self.loop.create_task(coro)
        while not task.done():
            try:
                self.loop.run_until_complete(task)
            except (SystemExit, KeyboardInterrupt) as error:
                self._report(error)

    def _report(self, error: BaseException) -> None:
        """Log an error that asyncio ends a loop for, unless a caller of run() gets it."""
        for _, task in list(self._awaited.values()):
            if task is not None and task.done() and not task.cancelled():
                if task.exception() is error:
                    return
        log.error("loop %s goes on after an asyncio task or a callback in it raised %s",
                  self._name, described(error), exc_info=(type(error), error, traceback_of(error)))

    def end(self, cause: BaseException | None) -> None:
        """End all waits. The loop is closed.

        :param cause: the error that has ended the loop, or None after a stop.
        """
        self._ended = True
        for future in list(self._awaited):
            coro, task = self._awaited.pop(future, (None, None))
            if coro is None:
                continue                    # start() has removed it meanwhile
            error = SupervisorStoppedError(
                f"loop {self._name!r} ended before coroutine {name_of(coro)} did"
                + ("" if cause is None else f", since asyncio raised {described(cause)}"))
            error.__cause__ = cause
            _fail(future, error)
            if task is None:
                coro.close()

    def _begin(self, coro: Coroutine[Any, Any, Any], future: Future[Any]) -> None:
        import asyncio

        try:
            if future.cancelled():
                raise asyncio.CancelledError
            task = asyncio.ensure_future(coro, loop=self.loop)
        except BaseException as error:      # of the task factory, or of an eager first step
            self._awaited.pop(future, None)
            coro.close()
            _fail(future, error)
            return
        self._awaited[future] = coro, task
        task.add_done_callback(partial(self._set_outcome, future))
        future.add_done_callback(partial(self._cancel, task))

    def _set_outcome(self, future: Future[Any], task: asyncio.Task[Any]) -> None:
        """Give a future the outcome of its asyncio task."""
        self._awaited.pop(future, None)
        if task.cancelled():
            future.cancel()
            return
        error = task.exception()
        if error is not None:
            _fail(future, error)
        elif future.set_running_or_notify_cancel():
            future.set_result(task.result())

    # -- in any thread -----------------------------------------------------------------------------

    def stop(self, deadline: float | None, cancel_tasks: bool) -> None:
        """Have the loop stop when its tasks have ended. Cancel them at the deadline, or at once."""
        call_in(self.loop, self._begin_stop, deadline, cancel_tasks)

    def start(self, coro: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine and return the future of its end.

        :raises SupervisorStoppedError: the loop has ended.
        """
        from concurrent.futures import Future

        future: Future[T] = Future()
        self._awaited[future] = coro, None
        # The application may have closed the loop.
        if not self._ended and call_in(self.loop, self._begin, coro, future):
            return future
        self._awaited.pop(future, None)
        coro.close()
        raise _not_active_error(self._name)

    def _cancel(self, task: asyncio.Task[Any], future: Future[Any]) -> None:
        if future.cancelled():
            call_in(self.loop, task.cancel)


def _fail(future: Future[Any], error: BaseException) -> None:
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_exception(error)


def _not_active_error(name: str) -> SupervisorStoppedError:
    return SupervisorStoppedError(f"loop {name!r} is not active; call start() first")


@ends_tracebacks("background_task")
class ALoop:
    """An asyncio event loop that runs in a thread of its own. Any thread may use it.

    :param name: its name, unique in a supervisor.
    :param supervisor_id: shown in the thread's name (default: empty).
    :param ended: called in the loop's thread when the loop has been closed (default: None).
    :param pool: the pool of its coroutines (default: None).
    :param check_start: called before each start; an error that it raises refuses the start
        (default: None).

    >>> import asyncio
    >>> loop = ALoop('timing')
    >>> loop.start()
    >>> loop.run(asyncio.sleep(0, 'slept'))
    'slept'
    >>> loop.stop()
    """

    def __init__(self, name: str, supervisor_id: str = "", ended: Callable[[], None] | None = None,
                 pool: CoroutineStarter | None = None,
                 check_start: Callable[[], None] | None = None) -> None:
        self.name = name
        self.daemon = False                 # an argument of create_aloop(), without effect
        self._pool = pool
        self._ended = ended
        self._check_start = check_start
        self.thread: threading.Thread | None = None
        self._thread_name = f"supervisor_{supervisor_id}_aloop_{name}"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: _RunningLoop | None = None       # with _loop
        self._lock = RLock()      # guards starting and stopping
        #: Guards thread, _loop, _running and _starting while a thread starts.
        self._publishing = RLock()
        #: The thread of the last start, until its loop runs. A thread that is not this one ends.
        self._starting: threading.Thread | None = None
        self._ending: threading.Thread | None = None        # the thread of the last stop

    def start(self) -> None:
        """Start the thread and block until the loop runs. Do nothing if it runs."""
        with self._lock:
            if self.thread is None or self._loop is None:
                self._start()

    def _start(self) -> None:
        if self._check_start is not None:
            self._check_start()
        reason = why_no_loops()
        if reason is not None:
            raise SupervisorError(f"loop {self.name!r} cannot start: {reason}")
        running = Latch()
        refused: list[BaseException] = []
        thread = PackageThread(self._run, (running, refused), self._thread_name)
        with self._publishing:
            if self.thread is not None and self._loop is not None:
                return              # an earlier start was interrupted, and its loop runs
            self._starting = thread
        thread.start()
        running.acquire()       # if this is interrupted, the loop runs all the same
        if refused:
            raise refused.pop()

    def _run(self, ready: Callable[[], None], refused: list[BaseException]) -> None:
        import asyncio

        me = threading.current_thread()
        try:
            # of another greenlet; starting one more would stop it
            if asyncio._get_running_loop() is not None:
                raise SupervisorError(
                    f"loop {self.name!r} cannot start: threads are greenlets here, which share a "
                    "thread of the system, and another event loop runs in it; pass that one to "
                    "set_default_aloop(), or use thread tasks")
            loop = asyncio.new_event_loop()
        except BaseException as error:      # no files, for example
            refused.append(error)
            ready()
            return
        running = _RunningLoop(self.name, loop)
        with self._publishing:
            # If the start was interrupted, a stop or another start may have come since.
            wanted = self._starting is me
            if wanted:
                self.thread, self._loop, self._running = me, loop, running
        if not wanted:
            loop.close()
            ready()
            return
        asyncio.set_event_loop(loop)
        loop.call_soon(self._loop_runs, ready)
        cause = None
        try:
            cause = running.run_until_stopped()
        finally:
            try:
                # Coroutines may have started while stop() waited.
                running.run_until_complete(_cancel_others(LAST_GRACE))
                running.run_until_complete(loop.shutdown_asyncgens())
            except Exception:
                log.exception("loop %s did not end in order", self.name)
            finally:
                asyncio.set_event_loop(None)
                loop.close()
                with self._publishing:
                    if self._loop is loop:
                        self._loop = self._running = None
                running.end(cause)
                if self._ended is not None:
                    self._ended()

    def _loop_runs(self, ready: Callable[[], None]) -> None:
        ready()
        with self._publishing:
            if self._starting is threading.current_thread():
                self._starting = None

    def is_starting_here(self) -> bool:
        """Return True in the loop's thread before the loop runs.

        Code there must not wait for the loop.

        A finalizer may run there.
        """
        return self._starting is not None and self._starting is threading.current_thread()

    def reset_after_fork(self) -> None:
        """In a forked process: the loop and its thread are the parent's."""
        self.thread = self._loop = self._running = self._starting = self._ending = None
        self._lock = RLock()
        self._publishing = RLock()

    def is_active(self) -> bool:
        """Return True if the loop runs."""
        return self._loop is not None and self.thread is not None and self.thread.is_alive()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the asyncio loop.

        Under ``legacy.install()``, return None if the loop is not active.

        :raises SupervisorStoppedError: (a RuntimeError) the loop is not active.
        """
        if _modes.legacy and not self.is_active():
            return None     # type: ignore[return-value]
        return self.active_loop()

    def active_loop(self) -> asyncio.AbstractEventLoop:
        """Return the asyncio loop.

        :raises SupervisorStoppedError: (a RuntimeError) the loop is not active.
        """
        loop = self._loop
        if loop is None or not self.is_active():
            raise _not_active_error(self.name)
        return loop

    def background_task(self, coro: Coroutine[Any, Any, T]) -> Task[T]:
        """Run a coroutine in the loop and return its :class:`Task`.

        Any thread may call this.

        :param coro: a coroutine.
        :raises InvalidTypeError: (a TypeError) not a coroutine.
        :raises SupervisorStoppedError: (a RuntimeError) the loop is not active, or the supervisor
            has been stopped.
        """
        try:
            self._check_coroutine("background_task", coro)
            try:
                self.active_loop()
                assert self._pool is not None, "an aloop is made by create_aloop()"
                return self._pool.start_coroutine(coro, self)
            except BaseException:
                coro.close()
                raise
        except SupervisorError as error:
            cut_frames(error)
            raise

    @staticmethod
    def _check_coroutine(method: str, coro: Any) -> None:
        if not isinstance(coro, Coroutine):
            raise InvalidTypeError(f"{method} of a loop takes a coroutine, not {a_kind(coro)}; "
                                   "call the coroutine function first")

    def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and block until it ends.

        :param coro: a coroutine.
        :return: its result.
        :raises SupervisorStoppedError: (a RuntimeError) the loop is not active, or this is its own
            thread; or the loop ended before the coroutine.
        :raises WaitDeadlockError: (a RuntimeError) code that waits for the calling code blocks the
            loop.
        """
        self._check_coroutine("run", coro)
        running = self._running
        try:
            if self.thread is not None and threading.get_ident() == self.thread.ident:
                raise SupervisorStoppedError(f"run() would wait for its own loop {self.name!r}; "
                                             "await the coroutine")
            if running is None or not self.is_active():
                raise _not_active_error(self.name)
        except SupervisorStoppedError:
            coro.close()
            raise
        with LoopRun(coro, running.loop) as run:
            future: Future[T] = run.start(running.start)
            if not future.done():
                latch = Latch()
                future.add_done_callback(lambda _: latch())
                latch.wait(None)
        return future.result()

    def stop(self, wait: bool | Seconds = True, cancel_tasks: bool = False) -> None:
        """Stop the loop after its tasks have ended. Any thread may call this.

        :param wait: seconds to wait for the tasks (default: True); True waits without limit, False
            does not wait. Tasks that have not ended then are cancelled.
        :param cancel_tasks: cancel the tasks at once (default: False).
        """
        deadline = deadline_of_stop(wait)
        with self._lock:
            with self._publishing:
                thread = self.thread
                if thread is None:      # of an interrupted start: withdraw it
                    thread, self._starting = self._starting, None
                # A later stop waits for the thread as well.
                self._ending = thread = thread or self._ending
                self.thread = None
                running = self._running
            if running is not None:
                running.stop(deadline, cancel_tasks or wait is False)
        if (wait is not False and thread is not None
                and thread.ident not in (None, threading.get_ident())):
            block_on((_LoopStop(self.name, thread, running),), partial(_join, thread),
                     None if deadline is None else deadline + 1.5, deadline is None)


class _LoopStop(WaitedCall):
    """The stop of a loop, which needs the loop."""

    __slots__ = ("_name", "_thread", "_running")

    def __init__(self, name: str, thread: threading.Thread, running: _RunningLoop | None) -> None:
        self._name = name
        self._thread = thread
        self._running = running

    def done(self) -> bool:
        return not self._thread.is_alive()

    def loop(self) -> Any:
        return None if self._running is None else self._running.loop

    def label(self) -> str:
        return f"the stop of loop {self._name!r}"


def _join(thread: threading.Thread, blocking: bool = True, timeout: float = -1.0) -> bool:
    thread.join(None if blocking and timeout < 0 else max(0.0, timeout))
    return not thread.is_alive()


async def _cancel_others(grace: float) -> None:
    """Cancel all other tasks of the running loop and wait for them.

    :param grace: seconds to wait at most.
    """
    import asyncio

    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=grace)


class LoopRegistry:
    """The aloops of a supervisor, by name."""

    RESERVED = "__supervisor__"

    def __init__(self, supervisor_id: str, ended: Callable[[], None]) -> None:
        self._id = supervisor_id
        self._ended = ended
        self.closed: bool = False           # no loop is started any more
        self._lock = RLock()      # guards what follows
        #: The loops by name. Each operation of a dict is one step.
        self.aloops: dict[str, ALoop] = {}
        self.default: Any = None            # an ALoop or an asyncio loop
        # started on first use
        self._own = ALoop(self.RESERVED, supervisor_id, ended, check_start=self._check_start)
        self._pool: CoroutineStarter | None = None

    def serve(self, pool: CoroutineStarter) -> None:
        """Make the coroutines of these loops tasks of a pool."""
        self._pool = self._own._pool = pool

    def create(self, name: str, start: bool, default: bool, daemon: bool = False) -> ALoop | bool:
        """Return a new loop; or False, with an error in the log, if the name is taken.

        :raises SupervisorStoppedError: it is to be started, and the supervisor has been stopped.
        """
        if not isinstance(name, str):
            raise InvalidTypeError(f"a loop's name is a string, not {type(name).__name__}")
        if name == self.RESERVED:
            raise InvalidArgumentError(f"the loop name {name!r} is reserved; choose another one")
        with self._lock:
            taken = name in self.aloops
            if not taken:
                aloop = self.aloops[name] = ALoop(name, self._id, self._ended, self._pool,
                                                  self._check_start)
                aloop.daemon = daemon
        if taken:
            log.error("supervisor %s has a loop named %r already; it was not made again",
                      self._id, name)
            return False
        if start:
            try:
                aloop.start()
            except SupervisorStoppedError:
                self.aloops.pop(name, None)        # the name is free again
                raise
        if default:
            self.set_default(aloop)
        return aloop

    def _check_start(self) -> None:
        # For a loop that stop_all() does not stop any more, as it starts later.
        if self.closed:
            raise SupervisorStoppedError(f"supervisor {self._id} has been stopped; call "
                                         "start() to go on")

    def get(self, name: str | None, default: bool) -> ALoop | None:
        """Return the loop of a name, or None.

        Without a name, return the default loop if ``default``.
        """
        with self._lock:
            if name is not None:
                if name == self.RESERVED:
                    return self._own if self._own.thread is not None else None
                return self.aloops.get(name)
            return self.default if default else None

    def _named(self, name: str) -> ALoop:
        aloop = self.get(name, False)
        if aloop is None:
            raise InvalidArgumentError(f"no loop is named {name!r}; make it with create_aloop()")
        return aloop

    def set_default(self, aloop: ALoop | str | asyncio.AbstractEventLoop | None) -> None:
        """Set the loop of tasks that name none (None: the supervisor's own loop)."""
        if isinstance(aloop, str):
            aloop = self._named(aloop)
        if not (aloop is None or isinstance(aloop, ALoop)
                or hasattr(aloop, "call_soon_threadsafe")):
            raise InvalidTypeError("the default loop is the name of a loop, an ALoop, an asyncio "
                                   f"loop or None, not {type(aloop).__name__}")
        with self._lock:
            self.default = aloop

    def own(self) -> ALoop:
        """Return the supervisor's own loop. Start it on first use."""
        self._own.start()
        return self._own

    def start(self, name: str) -> bool:
        """Start a loop by name. Return False, with an error in the log, if there is none."""
        aloop = self._found(name)
        if aloop is not None:
            aloop.start()
        return aloop is not None

    def stop(self, name: str, wait: bool | Seconds, cancel_tasks: bool) -> bool:
        """Stop a loop by name. Return False, with an error in the log, if there is none."""
        aloop = self._found(name)
        if aloop is not None:
            aloop.stop(wait=wait, cancel_tasks=cancel_tasks)
        return aloop is not None

    def _found(self, name: str) -> ALoop | None:
        aloop = self.get(name, False)
        if aloop is None:
            log.error("supervisor %s has no loop named %r", self._id, name)
        return aloop

    def is_starting_here(self) -> bool:
        """Return True if one of these loops is about to run in this thread.

        The thread must not wait for any of them.
        """
        return any(aloop.is_starting_here() for aloop in self._all())

    def in_use(self) -> bool:
        """Return True if a loop has been started."""
        return any(aloop.thread is not None for aloop in self._all())

    def _all(self) -> list[ALoop]:
        return [*list(self.aloops.values()), self._own]

    def reset_after_fork(self) -> None:
        """In a forked process: make all loops ones that are not started."""
        self._lock = RLock()
        for aloop in self._all():
            aloop.reset_after_fork()

    def resolve(self, loop: Any) -> asyncio.AbstractEventLoop:
        """Return the asyncio loop for a name, an ALoop, an asyncio loop or None.

        None stands for the default loop.
        """
        if isinstance(loop, str):
            loop = self._named(loop)
        if loop is None:
            loop = self.default or self.own()
        if isinstance(loop, ALoop):
            return loop.active_loop()
        if not has_method(loop, "call_soon_threadsafe"):
            raise InvalidTypeError("loop takes the name of a loop, an ALoop or an asyncio loop, "
                                   f"not {type(loop).__name__}")
        asyncio_loop: asyncio.AbstractEventLoop = loop
        return asyncio_loop

    def is_same_loop(self, named: Any, loop: asyncio.AbstractEventLoop) -> bool:
        """Return True if a task that names a loop, or none, belongs to this running loop.

        Return False also if :meth:`resolve` would have to tell.
        """
        if named is None:
            named = self.default or self._own
        return named is loop or (type(named) is ALoop and named._loop is loop)

    def stop_all(self, deadline: float | None, cancel: bool) -> None:
        """Stop every loop. They can be started again."""
        with self._lock:
            loops = self._all()
            self.closed = True
        for aloop in loops:
            left = remaining(deadline)
            aloop.stop(True if left is None else left, cancel)
