"""The process pool, parent's side.

::

    submit ──> run queue ──> feed: frames and tickets into the pipe of a process   (any thread)
                   ^                                │
                   └── revoke: tickets read back <──┤
                                                    v
    waiters <── results read, next tasks fed <── I/O thread that watches all result pipes

Every process has its own pipes (see :mod:`.child` for the wire format). The parent keeps each task
in ``inflight`` of its process, in the order of sending, until its result arrives. So

* the first task in flight runs, or its result is on the way;
* the last tasks, as many as there are tickets in the pipe, have not begun and can be revoked: to
  run a more urgent task first, to give work to an idle process, to cancel one of them, or when the
  process dies;
* when a process dies, at most one task had begun without a result, and that task fails.

Short tasks are prefetched, about a millisecond of expected work at a time, so that a process need
not wait for the parent between two of them. A slot is a process that has a task in flight.
"""
from __future__ import annotations

import os
from contextlib import suppress
from threading import get_ident, main_thread
from time import monotonic, perf_counter

from ..._ids import new_id
from ..._inspect import described
from ..._log import log
from ...constants import TaskType
from ...engine.blocking import Latch
from ...engine.deferred import run_and_launch, run_deferred
from ...engine.lifecycle import before_end_of, failure_of, retry_pause, run_callback
from ...engine.run_queue import RunQueue
from ...engine.task import CANCELED, COMPLETED, QUEUED, Task, number_tasks
from ...errors import PoolBrokenError, TaskPicklingError
from ..base import Pool
from . import child
from .child import ERROR, LARGE, LOG, PROGRESS, READY, RESULT, PipeReader
from .deferred_writer import DeferredWriter
from .exit_status import ExitStatus, disown, wait_for_end
from .io_thread import CLOSED, IOThread
from .main_module import end_if_pool_process, is_being_imported, names_main, why_not_importable
from .pool_process import RESULTS, TICKETS, PoolProcess, kill
from .process_set import ProcessSet
from .protocol import decode, decode_large, process_died_error, wait_readable
from .spawn import are_open
from .starter import ProcessStarter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Sequence

    from ...engine.deferred import Deferred
    from ...engine.spec import TaskSpec
    from ...engine.timer import Timer
    from ...errors import TaskTimeoutError
    from ..base import Waiters
    from .protocol import Result
    from .serializer import Serializer

__all__ = ["ProcessPool"]

#: The minimal number of submissions to a busy pool between two checks by submitters if a process
#: needs more tasks.
FEED_EVERY = 8
#: The number of bytes that one call reads from a result pipe.
READ_SIZE = 1 << 16
#: Seconds between SIGTERM and SIGKILL.
TERM_GRACE = 1.0
#: Seconds within which a process without a task must exit when the pool is closed.
CLOSE_GRACE = 5.0

_new_task = Task.__new__
_NOTHING: Deferred = []     # shared: never add to it

_CHANGE = 0.25      # the weight of the newest run in the expected run time of a function


def _lay_out(raws: list[memoryview]) -> tuple[Any, list[memoryview], Any]:
    if not raws:
        return (), [], None
    from .buffers import lay_out

    return lay_out(raws)


class ProcessPool(ProcessSet):
    """Runs tasks in processes, most urgent first, and survives the death of any of them."""

    tt = TaskType.MP
    killed: int

    def __init__(self, name: str, timer: Timer, wake_up: Callable[[], None],
                 spawn: Callable[[Callable[[], None]], None], pool_size: int,
                 reserve_normal: int = 0, reserve_high: int = 0, start_method: str | None = None,
                 initializer: Callable[..., Any] | None = None, initargs: tuple[Any, ...] = (),
                 maxtasksperchild: int | None = None) -> None:
        super().__init__(name, timer, wake_up, spawn,
                         RunQueue(pool_size, reserve_normal, reserve_high))
        self.start_method = start_method
        self.initializer = initializer
        self.initargs: tuple[Any, ...] = initargs
        self.maxtasksperchild = maxtasksperchild
        self.serializer: Serializer | None = None   # None: pickle
        self._pickle_parts = child.pickle_parts
        self.min_size: int = 0
        self._processes: list[PoolProcess] = []
        self._idle: list[PoolProcess] = []
        self._departing = False
        self._lowest_priority = -1  # no process has a less urgent task than this in flight
        self._since_refill = 0  # submissions since the last check of _refill_every
        self._refill_every = FEED_EVERY
        self._closing = False
        self.writer = DeferredWriter(self)
        self._exit_waiters: list[Latch] = []        # opened when the last process has ended
        self._io_thread: IOThread | None = None
        self.forks_from_template = False    # the start method fork uses a template process
        self._generation = 0                # the number of calls of configure()
        self.starter = ProcessStarter(self)

    # -- acceptance --------------------------------------------------------------------------------

    def start(self, spec: TaskSpec, args: tuple[Any, ...],
              kwargs: dict[str, Any] | None) -> Task[Any]:
        """See :meth:`Pool.start`. If an argument cannot be pickled, the task fails at once."""
        # Task(), inlined for speed
        task: Task[Any] = _new_task(Task)
        task._spec = spec
        task._args = args
        task._kwargs = kwargs
        task._context = None
        task._status = QUEUED
        task._waiters = None
        task._extra = None
        task._queued = perf_counter()
        # Each path is one line, so that no interrupt comes between submitting and returning.
        if args or kwargs or spec.pickled_target is None or not spec.fast_submit:
            return task if self.submit(task) is None else task    # type: ignore[func-returns-value]
        return task if self._accept(task) is None else task     # type: ignore[func-returns-value]

    def submit(self, task: Task[Any]) -> None:
        error = self._pack(task)
        if error is not None:
            self._refused(task, error)
        elif task._spec.fast_submit:
            self._accept(task)
        else:
            Pool.submit(self, task)

    def _accept(self, task: Task[Any]) -> None:
        """Submit a packed task without options, like :meth:`Pool.submit`."""
        if self.is_reentrant():
            self._submit_from_thread(task)
            return
        try:
            deferred = None
            run_queue = self.run_queue
            while True:
                with self.lock:
                    if self.accepting and (run_queue.waiting < run_queue.fast_limit
                                           or self.backpressure.has_room(task._spec)):
                        if task._extra is None:
                            registry = self.registry
                            registry.last = task._number = number = registry.last + 1
                            registry.live[number] = task
                        else:
                            self.registry.add(task)
                        deferred = self._enqueue(task)
                if self.parking.waiters:
                    self.parking.unpark_one()
                if deferred is not None or self.backpressure.reject(task):
                    break
            if deferred:
                run_and_launch(deferred)    # no line may follow: see DeferredWriter.commit()
        except BaseException:
            self.rollback.undo(task)
            raise

    def start_many(self, spec: TaskSpec, calls: Sequence[tuple[Any, ...]],
                   first: int | None = None) -> list[Task[Any]]:
        """See :meth:`Pool.start_many`. Context variables are not sent to processes."""
        made: list[Task[Any]] = [Task(spec, args, None, None) for args in calls]
        if first is not None:
            number_tasks(made, first)
        return made if self.submit_many(made) is None else made  # type: ignore[func-returns-value]

    def submit_many(self, tasks: Iterable[Task[Any]]) -> None:
        good = []
        for task in tasks:
            error = self._pack(task)
            if error is None:
                good.append(task)
            else:
                self._refused(task, error)
        Pool.submit_many(self, good)

    def _pack(self, task: Task[Any]) -> BaseException | None:
        """Pickle the function and the arguments of a task; return an error or None. (no lock)"""
        spec = task._spec
        what = "function"
        try:
            if spec.pickled_target is None:
                if self.serializer is None:
                    blob = child.pickle_target(spec.target)
                    keeps = child.is_stateless(spec.target)
                    error = self._not_importable(task, blob)
                    if error is not None:
                        return error
                else:
                    blob, keeps = self.serializer.pickle_target(spec.target)
                if keeps:
                    spec.pickled_target = blob
                else:
                    task._extra_fields().placement = blob     # it may differ at the next call
            args, kwargs = task._args, task._kwargs
            if not args and not kwargs:
                task._context = None        # no context variables, which a task of a thread has
                return None
            what = "arguments"
            parts, raws = self._pickle_parts((args, kwargs),
                                             [*args, *kwargs.values()] if kwargs else args)
            if not raws and len(parts) == 1 and len(parts[0]) < LARGE:
                task._context = parts[0]
            else:
                # These follow the entry in the frame: small buffers, then the pickle.
                positions, inline, outgoing = _lay_out(raws)
                task._context = (positions, [*inline, *parts], outgoing)
            return None
        except (Exception, SystemExit) as raised:
            advice = ("define it at the top level of a module, where the process can import it"
                      if what == "function"
                      else "pass plain data, and open files or connections in the function")
            if self.serializer is None:
                from .serializer import use_cloudpickle

                advice += use_cloudpickle(described(raised))
            error = TaskPicklingError(f"the {what} of task {spec.name} cannot be sent to a process "
                                      f"({described(raised)}); {advice}")
            error.__cause__ = raised
            return error

    def _not_importable(self, task: Task[Any], blob: bytes) -> TaskPicklingError | None:
        """Return an error if no process can import the main module that defines the function."""
        if self.start_method == "fork" or not names_main(blob):
            return None
        source = why_not_importable()
        if source is None:
            return None
        from .serializer import use_cloudpickle

        fork = (", or call set_mp_pool(start_method='fork') first"
                if source.endswith(("notebook", "session")) else "")
        return TaskPicklingError(
            f"the function of task {task.name} cannot be sent to a process: it is defined in "
            f"{source}, which a new process cannot import; move it to a module (a .py file){fork}"
            f"{use_cloudpickle()}")

    def _refused(self, task: Task[Any], error: BaseException) -> None:
        """Accept a task that cannot be pickled, and fail it. No other task is affected."""
        if self.is_reentrant():
            task._extra_fields().task_id = new_id()
            self.defer_to_thread(self._refused, task, error)
            return
        held = task._references()
        while True:
            with self.lock:
                if self.accepting:
                    self.registry.add(task)
                    waiters = self.lifecycle.finish(task, COMPLETED, perf_counter(),
                                                    failure_of(task, error))
                    break
            if self.replacement is not None:
                self.replacement.accept_redirected(task)      # that pool may be able to run it
                return
            self._ensure_started()
        del held
        self.lifecycle.notify(task, waiters)

    # -- dispatch (lock held) ----------------------------------------------------------------------

    def _enqueue(self, task: Task[Any]) -> Deferred:
        if get_ident() != main_thread().ident:
            return self._let_run(task)
        writer = self.writer
        writer.thread = get_ident()
        deferred = self._let_run(task)
        writer.thread = 0
        return [*deferred, writer.commit] if writer.processes else deferred

    def _let_run(self, task: Task[Any]) -> Deferred:
        run_queue = self.run_queue
        run_queue.push(task)
        if self._idle:
            self._refill_idle()
            if not run_queue.waiting:
                return _NOTHING
        priority = task._spec.priority
        if priority < self._lowest_priority:
            self._revoke_less_urgent(priority)
        else:
            # While a submitter is busy, the I/O thread may have to wait for the interpreter. So
            # submitters feed the processes, too. They do so rarely, since each write releases the
            # interpreter.
            self._since_refill += 1
            if self._since_refill >= self._refill_every:
                self._since_refill = 0
                self._refill_every = max(FEED_EVERY, self._allowed(task._spec.expected_runtime))
                for process in self._processes:
                    if process.inflight:
                        self._refill(process)
        if (len(self._processes) < run_queue._high or self._departing) and not self.starter.is_busy:
            return self.starter.grow()
        return _NOTHING

    def _enqueue_many(self, tasks: Iterable[Task[Any]]) -> Deferred:
        writer = self.writer
        if get_ident() == main_thread().ident:
            writer.thread = get_ident()
        least = None
        for task in tasks:
            self.run_queue.push(task)
            if least is None or task._spec.priority < least:
                least = task._spec.priority
        if least is not None and least < self._lowest_priority:
            self._revoke_less_urgent(least)
        self._refill_idle()
        writer.thread = 0
        deferred = self.starter.grow()
        return [*deferred, writer.commit] if writer.processes else deferred

    # -- results: the I/O thread -------------------------------------------------------------------

    def on_readable(self, process: PoolProcess, cause: str | None = None) -> None:
        """Read a result pipe that has data, or handle the end of its process.

        :param cause: why the process was ended, if that is known.
        """
        try:
            data = os.read(process.result_fd, READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._on_exit(process, cause)
            return
        if process.partial:
            data = process.partial + data
        results: list[Result] = []
        large = None
        position, end = 0, len(data)
        unpack, header = RESULT.unpack_from, RESULT.size
        while end - position >= header:
            number, length, seconds, kind = unpack(data, position)
            start = position + header
            if length:
                if end - start < length:
                    if length >= READ_SIZE:
                        large = number, kind, seconds, PipeReader(
                            process.result_fd, length, data[start:],
                            lambda: wait_readable(process.result_fd))
                        position = end
                    break
                position = start + length
                results.append(decode(number, kind, seconds, data[start:position], process))
            else:
                position = start
                results.append((number, kind, seconds, None))
        process.partial = data[position:] if position < end else b""
        if results:
            self._on_results(results, process)
        if large is not None:
            # A pool thread reads it, without a copy, while this thread serves the other processes.
            assert self._io_thread is not None
            self._io_thread.pause(process)
            io_thread, arriving = self._io_thread, large
            self._spawn(lambda: self._take_large(arriving, process, io_thread))

    def _take_large(self, large: tuple[int, int, float, PipeReader], process: PoolProcess,
                    io_thread: IOThread) -> None:
        number, kind, seconds, reader = large
        try:
            result = decode_large(number, kind, seconds, reader, process)
            reader.skip()
            self._on_results([result], process)
        except (EOFError, OSError):
            pass        # the process died: the I/O thread reports that after add()
        finally:
            io_thread.add(process)

    def on_transfer(self, process: PoolProcess) -> None:
        """Have a pool thread send the large buffers of tasks to a process."""
        from . import transfers

        if transfers.claim(self, process):
            self._spawn(lambda: transfers.send_all(self, process))

    def _on_results(self, results: list[Result], process: PoolProcess) -> None:
        """Finish the tasks of some results, feed the process, and wake the waiters."""
        late: list[tuple[Task[Any], int, Any]] = []
        waiters: Waiters = []
        held: list[Any] = []
        acquire = self.lock.acquire
        if not acquire(False):
            self.parking.wait(acquire)
        try:
            self._record(process, results, late, waiters, held)
            # Checked only after a task: each process must run at least one.
            if (self.max_age is not None or self.max_memory is not None) \
                    and results[-1][1] <= ERROR and self._should_recycle(process):
                self._recycle(process)
            if process.inflight:
                if len(process.inflight) * 2 <= self._allowed(
                        process.inflight[0]._spec.expected_runtime):
                    self._refill(process)
                if self._idle and self.run_queue.waiting:
                    self._refill_idle()           # a lane has a free slot again
            elif process.ready and self.run_queue.waiting:
                self._refill_idle()
            elif process.ready and self._idle and len(self._processes) > 1:
                self._steal()
            # A process that just got ready may have taken all waiting tasks, while others stand
            # behind a running task. A dismissed process may need long to exit.
            deferred = (self.starter.grow()
                      if (self.run_queue.waiting or len(process.inflight) > 1
                          or results[0][1] > ERROR or process.closed)
                      else [])
            if self._logs:
                deferred = deferred + self._relay_deferred()
            if self.backpressure.has_observers:
                waiters += self.backpressure.observe_end()
        finally:
            self.lock.release()
            if self.parking.waiters:
                self.parking.unpark_one()
        del held, results
        for waiter in waiters:
            waiter()
        run_deferred(deferred)
        for task, kind, outcome in late:
            self._finish_slow(task, kind, outcome)

    def _record(self, process: PoolProcess, results: list[Result],
               late: list[tuple[Task[Any], int, Any]],
               waiters: Waiters, held: list[Any]) -> None:
        """Store results in their tasks. (lock held)

        :param late: receives the tasks with a callback, hooks, retries or an error.
        :param waiters: receives the waiters.
        :param held: receives the references of the tasks, to be dropped without the lock.
        """
        registry = self.registry
        inflight = process.inflight
        lifecycle = self.lifecycle
        live, history, recorder = registry.live, registry.history, lifecycle.recorder
        now = perf_counter()
        timed = None
        for number, kind, seconds, outcome in results:
            if kind > ERROR:
                self._record_report(process, number, kind, outcome)
                continue
            task = inflight.popleft()
            following = inflight[0] if inflight else None
            spec = task._spec
            if spec is not timed:       # one measurement of a function is enough for each batch
                timed = spec
                spec.expected_runtime = (
                    seconds if spec.expected_runtime is None
                    else spec.expected_runtime + (seconds - spec.expected_runtime) * _CHANGE)
            if task._context is not None:
                held.append(task._references())
            if spec.lane is not None:
                left = process.lanes[spec.lane] - 1
                if left:
                    process.lanes[spec.lane] = left
                else:
                    self._leave_lane(process, spec.lane, 1)
            if task._extra is None and kind != ERROR and spec.fast_finish:
                # Lifecycle.finish(), inlined for speed
                if following is not None and (following._extra is not None
                                              or following._status != QUEUED
                                              or not following._spec.fast_finish
                                              or now - following._queued > lifecycle.late_after):
                    self._begin(following, now)
                    task._advance(COMPLETED, now, outcome)
                else:
                    task._advance(COMPLETED, now, outcome, following)
                    if recorder is not None and following is not None:
                        recorder.on_started(following)
                del live[number]
                history.append((task._queued, task._started, now))
                if recorder is not None:
                    recorder.on_finished(task)
                if task._waiters is not None:
                    waiters += task._waiters
            else:
                late.append((task, kind, outcome))
                if following is not None:
                    self._begin(following, now)
                if kind == ERROR and isinstance(outcome, MemoryError):
                    process.retiring = True     # it may stay short of memory
            if following is None:
                self._becomes_idle(process)
            elif process.retiring:
                self.run_queue.requeue(self._revoke(process))

    def _record_report(self, process: PoolProcess, number: int, kind: int, outcome: Any) -> None:
        """Handle a message of a process that is no result: progress, log record, readiness."""
        if kind == PROGRESS:
            running = self.registry.live.get(number)
            if running is not None:
                self.lifecycle.progress(running, outcome)
        elif kind == LOG:
            self._enter_log(number, outcome)
        elif kind == READY:
            process.ready = True
            self.timer.cancel(process.ready_timer)
            self.starter.got_ready()
            if not process.closed:
                if process.retiring:
                    self._close_when_idle(process)      # configure() was called while it started
                else:
                    self._idle.append(process)
        else:
            process.error = outcome

    def _finish_slow(self, task: Task[Any], kind: int, outcome: Any) -> None:
        """Finish a task with a callback, hooks, retries or an error after its result arrived."""
        pause = None
        failed = kind == ERROR
        if failed:
            pause = retry_pause(task, outcome)
            outcome = failure_of(task, outcome)
        before_end = None if pause is not None else before_end_of(task)
        if before_end is None and (failed or task._spec.callback is None):
            self._end(task, outcome, pause)
            return

        def end() -> None:
            if not failed:
                run_callback(task, outcome)
            if before_end is not None:
                before_end(task, outcome)
            self._end(task, outcome)

        if before_end is None:
            self._spawn(end)
        else:
            with self.lock:
                self.notifier.add(end)         # after the hook call for its start

    def _end(self, task: Task[Any], outcome: Any, pause: float | None = None) -> None:
        with self.lock:
            deferred = self._attempt_ended(task, outcome, pause)
        run_deferred(deferred)

    # -- the end of a process ----------------------------------------------------------------------

    def io_thread_failed(self, io_thread: IOThread, error: BaseException) -> None:
        """Replace all processes when the I/O thread ends; fail the tasks that they run."""
        log.error("%s: its I/O thread ended (%s: %s); its processes are replaced, and what they "
                  "ran fails", self.name, type(error).__name__, error)
        with self.lock:
            if self._io_thread is io_thread:
                self._io_thread = None
            processes = list(self._processes)
            for process in processes:
                process.closed = True       # it gets no more tasks
                if process in self._idle:
                    self._idle.remove(process)
        cause = str(error) or type(error).__name__
        for process in processes:
            kill(process.process)
        for process in processes:
            try:
                # The results that it has written still count. The last event is its end.
                while process in self._processes and are_open([process.pipes[RESULTS]]):
                    wait_readable(process.result_fd)
                    self.on_readable(process, cause)
            except BaseException:
                log.exception("%s: the results of process %d cannot be read", self.name,
                              process.pid)
            try:
                if process in self._processes:
                    self._on_exit(process, cause)
            except BaseException:
                log.exception("%s: the end of process %d could not be handled", self.name,
                              process.pid)

    def _on_exit(self, process: PoolProcess, cause: str | None = None) -> None:
        """Fail the task that a dead process was running, requeue its other tasks, and replace it.

        :param cause: why the process was ended, if no I/O thread watches it any more.
        """
        io_thread = self._io_thread
        if io_thread is not None:
            io_thread.forget(process)
        if not are_open(process.pipes):
            disown(process.process, process.server, process.files)
            status = ExitStatus(None, cause=cause or CLOSED)
        else:
            status = wait_for_end(process.process, process.server)
            if cause is not None:
                status.cause = cause
        exitcode = status.code
        refused = not process.ready and (
            status.cause != "" or (exitcode in (-9, -15) and self.initializer is None))
        if refused:
            # The process is not the cause. For example, the system sends SIGKILL or SIGTERM when it
            # is short of memory. So the start is tried again without limit.
            try:
                self.timer.start()
            except (RuntimeError, MemoryError):
                refused = False
        with self.lock:
            self._processes.remove(process)
            self._departing = any(other.closed or other.termination is not None
                                  for other in self._processes)
            if process in self._idle:
                self._idle.remove(process)
            ending, process.termination = process.termination, None
            self.timer.cancel(process.ready_timer)
            process.closed = True
            if are_open([process.pipes[TICKETS]]):
                back = self._revoke(process)
            else:
                # Its tickets cannot be read: only the unsent tasks certainly did not begin.
                back = self._take_last(process, process.unsent)
            self.run_queue.requeue(back)
            # If the tickets could be read, at most one task is left.
            victims = list(process.inflight)
            undone: list[Task[Any]] = []
            if victims:
                self.run_queue.active -= 1
                process.inflight.clear()
                for lane in list(process.lanes):
                    self._leave_lane(process, lane, process.lanes[lane])
            if process.draining:
                # See _quarantine(): if the process exited by itself, it had begun none of these.
                unbegun, victims = (
                    (victims, []) if exitcode == 0
                    else (victims[1:], victims[:1]))
                undone = self._take_back(unbegun)
            early = not process.ready and not self._closing
            if early:
                self.starter.ended_early(refused)
            self._close_pipes(process)
        with suppress(OSError, ValueError):     # the application closes descriptors meanwhile
            process.process.close()
        for task in undone:
            self._cancelled(task)
        for victim in victims:
            if ending is None or ending[0] is not victim:
                error: BaseException = process_died_error(process.pid, status, victim)
                self._end(victim, failure_of(victim, error), retry_pause(victim, error))
            elif ending[1] is None:
                self._cancelled(victim)
            else:
                self._end(victim, failure_of(victim, ending[1]), ending[2])
        if early:
            self.starter.report_early_end(process, status)
        with self.lock:
            deferred: Deferred = []
            if self.accepting or self.run_queue.waiting:
                self._refill_idle()
                deferred = self.starter.grow()
            self.backpressure.wake_submitters()
            exited = self._all_exited()
        run_deferred(deferred)
        for latch in exited:
            latch()

    def _take_back(self, tasks: list[Task[Any]]) -> list[Task[Any]]:
        """Requeue tasks that a process has not begun; return the cancelled ones. (lock held)"""
        undone = [task for task in tasks
                  if task._extra is not None and task._extra.cancel_requested]
        queued = [task for task in tasks if self.lifecycle.revoke(task)]
        self.run_queue.requeue([task for task in queued if task not in undone])
        return undone

    def _cancelled(self, task: Task[Any]) -> None:
        held = task._references()
        with self.lock:
            waiters = self.lifecycle.finish(task, CANCELED, perf_counter())
        del held
        self.lifecycle.notify(task, waiters, inline=False)

    def _served(self) -> bool:
        """Return True if a process takes tasks, now or after its current task. (lock held)"""
        return any(process.ready and process.termination is None
                   and not process.closed and not process.retiring for process in self._processes)

    def _fail_waiting(self, cause: BaseException | None, why: str) -> None:
        """Fail all waiting tasks, since no process can be started or gets ready.

        Each task gets its own error object.
        """
        ended = []
        with self.lock:
            self.starter.stop_starting_ahead()
            for task in self.run_queue.take_all():
                error = PoolBrokenError(
                    f"{self.name} could not start a process for task {task.name} "
                    f"({task.short_id}): {why}")
                error.__cause__ = cause
                held = task._references()
                ended.append((task, held, self.lifecycle.finish(task, COMPLETED, perf_counter(),
                                                         failure_of(task, error))))
        for task, held, waiters in ended:
            self.lifecycle.notify(task, waiters, inline=False)

    def _end_process(self, process: PoolProcess) -> Deferred:
        """End a process with SIGTERM, then SIGKILL, after its tasks were revoked. (lock held)"""
        if process in self._idle:
            self._idle.remove(process)
        self.killed += 1
        self._departing = True

        def terminate() -> None:
            try:
                self.timer.start()
                self.timer.call_later(TERM_GRACE, kill, process.process)
                with suppress(OSError, ValueError):     # it ended meanwhile
                    process.process.terminate()
            except RuntimeError:            # no thread for the timer: kill it at once
                kill(process.process)

        return [terminate]

    # -- cancel and time out (lock held) -----------------------------------------------------------

    def _holder(self, task: Task[Any]) -> PoolProcess | None:
        for process in self._processes:
            if task in process.inflight:
                return process
        return None

    def _is_queued(self, task: Task[Any]) -> bool:
        process = self._holder(task)
        if process is None:
            return True
        self.run_queue.requeue(self._revoke(process))
        if task not in process.inflight:
            return True
        self._begin(task, perf_counter())   # the child took its ticket before the revoke
        return False

    def _was_dispatched(self, task: Task[Any]) -> bool:
        process = self._holder(task)
        if process is None:
            return False
        if process.inconsistent:
            self._quarantine(process)
        self.run_queue.requeue(self._revoke(process))
        return task in process.inflight

    def _resync(self, tasks: set[Task[Any]]) -> Deferred:
        flying: set[Task[Any]] = set()
        moving: list[Task[Any]] = []
        for process in self._processes:
            if process.inconsistent:
                self._quarantine(process)
            moving += process.revoking
            process.revoking.clear()
            flying.update(process.inflight)
        standing = self.run_queue.waiting_tasks()
        for task in moving:
            if task not in flying:
                self.lifecycle.revoke(task)
        self.run_queue.requeue([task for task in self.registry.live.values()
                                if (task._status == QUEUED and task not in standing
                                    and task not in flying)])
        for process in self._processes:
            process.lanes = {}
            for task in process.inflight:
                if task._spec.lane is not None:
                    process.lanes[task._spec.lane] = process.lanes.get(task._spec.lane, 0) + 1
        self.run_queue.resync(sum(1 for process in self._processes if process.inflight),
                              [lane for process in self._processes for lane in process.lanes])
        self._idle = [process for process in self._processes
                      if process.ready and not process.inflight and not process.closed
                      and process.termination is None and not process.retiring]
        self._lowest_priority = max([one.lowest_priority for one in self._processes], default=-1)
        self.starter.undo_request()         # the interrupt may have come before the thread began
        self._refill_idle()
        deferred: Deferred = []
        for process in self._processes:
            if process.termination is not None:
                deferred += self._end_process(process)    # the interrupt may have come before that
        return deferred + self.starter.grow()

    def _dispatch_more(self) -> Deferred:
        if self.run_queue.peek() is not None:
            urgency = self.run_queue.head_priority()
            if urgency < self._lowest_priority:
                self._revoke_less_urgent(urgency)
            self._refill_idle()
        return self.starter.grow()

    def _removed_from_queue(self, tasks: Sequence[Task[Any]]) -> Deferred:
        deferred = super()._removed_from_queue(tasks)
        self._refill_idle()                   # other tasks may have been revoked with these
        return deferred

    def _cancel_running(self, task: Task[Any]) -> Deferred:
        return self._stop_running(task, None, None)

    def _timeout_running(self, task: Task[Any], error: TaskTimeoutError,
                         pause: float | None) -> Deferred:
        return self._stop_running(task, error, pause)

    def _stop_running(self, task: Task[Any], error: BaseException | None,
                      pause: float | None) -> Deferred:
        process = self._holder(task)
        if process is None or process.termination is not None:
            return []                       # its result arrived, or its process is being ended
        self.run_queue.requeue(self._revoke(process))
        if task not in process.inflight:
            if error is None:               # it had not begun: its process can stay
                waiters = self.lifecycle.finish(task, CANCELED, perf_counter())
                self._removed_from_queue([task])
                return [lambda: self.lifecycle.notify(task, waiters)]
            # It did not begin before its timeout: the process hangs, and another one gets the task.
            task = None     # type: ignore[assignment]
        elif process.inflight[-1] is not task:
            self._refill_idle()
            return []                       # a later task has begun: its own result is on the way
        process.termination = (task, error, pause)
        self._refill_idle()
        return self._end_process(process) + self.starter.grow()

    def _complete_running(self, task: Task[Any]) -> Deferred:
        return []       # its result is ignored later

    # -- settings ----------------------------------------------------------------------------------

    def refuse_during_import(self) -> None:
        """See :meth:`Pool.refuse_during_import`."""
        if is_being_imported():
            end_if_pool_process()

    def use_serializer(self, serializer: Serializer | None) -> None:
        """Have a serializer carry what crosses from now on; None is pickle. Any thread may call it.

        The present processes finish their tasks in flight and are replaced.
        """
        with self.lock:
            self.serializer = serializer
            self._pickle_parts = (child.pickle_parts if serializer is None
                                  else serializer.pickle_parts)
        self.configure(self.initializer, self.initargs, self.maxtasksperchild)

    def _all_exited(self) -> list[Latch]:
        """Return the latches to open if no process is left and none is starting. (lock held)"""
        if self._processes or self.starter.is_busy:
            return []
        exited, self._exit_waiters = self._exit_waiters, []
        return exited

    # -- resize and close --------------------------------------------------------------------------

    def resize(self, pool_size: int, reserve_normal: int, reserve_high: int, min_size: int) -> None:
        """Change the number of processes. Running tasks go on. Any thread may call it."""
        with self.lock:
            self.run_queue.resize(pool_size, reserve_normal, reserve_high)
            self.min_size = min_size
            while self._idle and self._alive() > self.run_queue.slots:
                self._close_when_idle(self._idle[0])
            more = self.run_queue.waiting > 0 or (self.accepting and self.starter.needs_process())
        if more:
            self._run_uninterruptible(self._start_more)

    def configure(self, initializer: Callable[..., Any] | None, initargs: tuple[Any, ...],
                  maxtasksperchild: int | None) -> None:
        """Set the initializer and the quota of new processes. Any thread may call it.

        The present processes finish their tasks in flight and are replaced.
        """
        with self.lock:
            self.initializer = initializer
            self.initargs = initargs
            self.maxtasksperchild = maxtasksperchild
            self._generation += 1
            for process in self._processes:
                process.retiring = True
            for process in list(self._idle):
                self._close_when_idle(process)
        self.starter.drop_template(wait=False)     # it has the old initializer

    def kill_all(self) -> None:
        """Kill all processes at once, and their running tasks with them."""
        with self.lock:
            self._closing = True
            processes = list(self._processes)
            self.killed += len(processes)
        for process in processes:
            kill(process.process)

    def renew_locks(self) -> None:
        """See :meth:`Pool.renew_locks`."""
        super().renew_locks()
        self.starter.renew_locks()

    def reset_after_fork(self) -> None:
        """See :meth:`Pool.reset_after_fork`. The pipes are closed before this call."""
        super().reset_after_fork()
        self._processes, self._idle, self._exit_waiters = [], [], []
        self._departing = False
        self._lowest_priority, self._since_refill = -1, 0
        self._closing = False
        self._io_thread = None
        self.starter.reset_after_fork()
        self._logs.clear()
        self._relaying = False

    def warm_up(self) -> None:
        """Start ``min_size`` processes ahead of the tasks."""
        with self.lock:
            deferred = self.starter.grow()
        run_deferred(deferred)

    def open(self) -> None:
        with self.lock:
            self._closing = False
            self.starter.reopen()
            self.accepting = True
            self.draining = False

    def close(self, deadline: float | None) -> None:
        """Let all processes exit. After CLOSE_GRACE seconds, kill the remaining ones.

        :param deadline: kill them at this ``monotonic()`` time if that is earlier, or None.
        """
        latch = Latch()
        with self.lock:
            self._closing = True
            self.starter.ahead = False
            for process in list(self._processes):
                self._close_when_idle(process)
            waiting = bool(self._processes or self.starter.is_busy)
            if waiting:
                self._exit_waiters.append(latch)
        if waiting:
            # No process has a task, so a process that does not exit in time is frozen, or its
            # initializer hangs.
            grace = monotonic() + CLOSE_GRACE
            while not latch.wait(grace if deadline is None else min(grace, deadline)):
                self.kill_all()
                deadline = None
                grace = monotonic() + CLOSE_GRACE
        io_thread = self._io_thread
        if io_thread is not None:
            io_thread.stop()
            self._io_thread = None
        self.starter.drop_template(wait=True)

    def in_use(self) -> bool:
        """See :meth:`Pool.in_use`. Processes may exist before the pool is opened."""
        return bool(self._processes or self.starter.is_busy or self.starter.template)

    def process_count(self) -> int:
        """Return the number of processes, including those that start or end."""
        return len(self._processes)

    def pids(self) -> list[int]:
        """Return the process ids of the pool processes."""
        with self.lock:
            return [process.pid for process in self._processes]
