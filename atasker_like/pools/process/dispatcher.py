"""The process pool, parent's side: prefetch tasks to processes, revoke them, steal them.

The tasks that were sent to a process are in its ``inflight``, in the order of sending. The first
one runs, or its result is on the way. The last ones, as many as there are tickets in the pipe of
the process, have not begun.

Short tasks are prefetched, about a millisecond of expected work at a time, so that a process need
not wait for the parent between two of them. They are revoked to let a more urgent task pass, to
give work to an idle process, to cancel one of them, and when the process dies.

All functions here are called with the lock of the pool held, except ``writable``. None blocks.
"""
from __future__ import annotations

import marshal
import os
from contextlib import suppress
from threading import get_ident, main_thread
from time import perf_counter

from ...engine.task import QUEUED, STARTED
from ..base import Pool
from .child import FRAME, TICKET
from .deferred_writer import DeferredWriter, unsent
from .pool_process import PoolProcess, kill
from .spawn import close_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

    from ...engine.lanes import Lane
    from ...engine.task import Task
    from .io_thread import IOThread
    from .kept_memory import KeptMemories


#: Seconds of expected work that are prefetched behind the running task.
AHEAD_SECONDS = 0.001
#: Up to this expected run time, in seconds, one task is prefetched, so that the process need not
#: wait for it.
AHEAD_SINGLE = 0.02
#: The maximal number of tasks in flight to one process.
AHEAD_MOST = 256


class Dispatcher(Pool):
    """The part of the process pool that sends tasks to processes and revokes them."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.writer: DeferredWriter = DeferredWriter(self)
        self._processes: list[PoolProcess] = []     # all, including those that start or end
        self._idle: list[PoolProcess] = []          # ready, with no task in flight
        self._lowest_priority = -1      # no process has a less urgent task than this in flight
        self._io_thread: IOThread | None = None
        self._departing = False         # some are about to end: new ones may replace them already
        self._kept_memories: KeptMemories | None = None     # made with the first large argument

    def _refill_idle(self) -> None:
        while self._idle and self.run_queue.waiting:
            process = self._idle[-1]
            self._refill(process, len(self._idle))
            if not process.inflight:
                return                      # no waiting task may start

    def _refill(self, process: PoolProcess, sharers: int = 1) -> None:
        """Send tasks to a process. The waiting tasks are divided among ``sharers`` processes."""
        inflight = process.inflight
        writer = self.writer
        if writer.processes:
            if writer.thread != get_ident():
                writer.flush()
            elif process in writer.processes:
                return
        if process.inconsistent:
            self._quarantine(process)
        if (not process.ready or process.termination is not None or process.closed
                or process.retiring or (process.revoked and inflight)):
            return
        run_queue = self.run_queue
        count = len(inflight)
        share = run_queue.waiting if sharers == 1 else -(-run_queue.waiting // sharers)
        was_idle = not count
        batch: list[Task[Any]] = []
        while share > 0 and process.tasks_left != 0:
            task = run_queue.peek(process.lanes)
            if task is None:
                break
            spec = task._spec
            priority = run_queue.head_priority()
            limit = run_queue.slot_limit(priority)
            if was_idle and not batch:
                if run_queue.active >= limit:
                    break
                self._idle.remove(process)
                run_queue.active += 1
                process.revoked = False
            elif run_queue.active > limit:
                break
            most = min(share, (max(self._allowed(spec.expected_runtime), not (batch or count))
                               - count - len(batch)))
            if process.tasks_left is not None:
                most = min(most, process.tasks_left)
            if most <= 0:
                break
            run = run_queue.pop_batch(spec, most, process.lanes)
            batch += run
            share -= len(run)
            if process.tasks_left is not None:
                process.tasks_left -= len(run)
            if priority > process.lowest_priority:
                process.lowest_priority = priority
                if priority > self._lowest_priority:
                    self._lowest_priority = priority
        if batch:
            if was_idle:
                self._begin(batch[0], perf_counter())
            self._send(process, batch)      # last: before it, a submission can be undone

    def _allowed(self, cost: float | None) -> int:
        """Return how many tasks may be in flight to one process if each takes ``cost`` seconds."""
        if cost is None:
            return 1
        if cost * AHEAD_MOST <= AHEAD_SECONDS:
            return AHEAD_MOST
        if cost <= AHEAD_SECONDS:
            return 1 + int(AHEAD_SECONDS / cost)
        return 2 if cost <= AHEAD_SINGLE else 1

    def _begin(self, task: Task[Any], now: float) -> None:
        """Mark a task as started when it becomes the first one in flight."""
        if task._status == QUEUED:
            self.lifecycle.start(task, now)

    def _send(self, process: PoolProcess, batch: list[Task[Any]]) -> None:
        # The tickets are written first, so that they are there when the process reads the frame.
        process.inconsistent = True
        process.inflight.extend(batch)
        entries: list[tuple[Any, ...]] = []
        for task in batch:
            spec = task._spec
            extra = task._extra
            packed: Any = task._context
            large = type(packed) is tuple
            if extra is None and spec.compact_entry and not large:
                entries.append((task._number, spec.pickled_target, packed))
                continue
            if large and entries:
                self._send_frame(process, entries, ())      # a large task has a frame of its own
                entries = []
            sizes = packed[0] if large else None
            if extra is None:
                entries.append((task._number, spec.pickled_target,
                                None if large else packed,
                                sizes, None, spec.takes_id, 1,
                                spec.options.name, spec.options.retries))
            else:
                entries.append((task._number, spec.pickled_target or extra.placement,
                                None if large else packed,
                                sizes, extra.task_id, spec.takes_id,
                                ((extra.attempts + (task._status != STARTED))
                                 * (1 if spec.pickled_target else -1)),
                                spec.options.name, spec.options.retries))
            if large:
                if packed[2] is not None:       # first: an interrupt may come after the frame
                    process.transfers.append((process.frame + 1 & 0xFFFFFFFF, task, packed[2]))
                self._send_frame(process, entries, packed[1])
                entries = []
                self._transfer(process)
        if entries:
            self._send_frame(process, entries, ())
        process.inconsistent = False

    def _send_frame(self, process: PoolProcess, entries: list[tuple[Any, ...]],
                    raws: Sequence[Any]) -> None:
        process.frame = frame = (process.frame + 1) & 0xFFFFFFFF
        body = marshal.dumps(entries)
        raw_length = sum(memoryview(raw).nbytes for raw in raws) if raws else 0
        tickets = TICKET.pack(frame) * len(entries)
        head = FRAME.pack(raw_length, len(body), frame) + body
        writer = self.writer
        if (writer.thread and len(entries) == len(process.inflight) and not process.outbox
                and writer.thread == get_ident()):
            writer.hold(process, tickets, head, raws)
            return
        try:
            os.write(process.ticket_out, tickets)
        except OSError:
            unsent(process, len(entries))
            return
        self.write(process, [head, *raws])

    def _transfer(self, process: PoolProcess) -> None:
        """Have the large buffers of tasks sent to a process."""
        if not process.transfers or self._io_thread is None:
            return
        if process in self.writer.processes:
            self.writer.request(self._io_thread.transfer, process)
        else:
            self._io_thread.transfer(process)

    def on_transfer(self, process: PoolProcess) -> None:
        """Have a pool thread send the large buffers of tasks to a process."""
        from .kept_memory import KeptMemories

        with self.lock:
            if process.transferring or not process.transfers:
                return
            process.transferring = True
            if self._kept_memories is None:
                self._kept_memories = KeptMemories(self.timer, self._spawn)
            memories = self._kept_memories
        self._spawn(lambda: memories.send_all(self, process))

    def write(self, process: PoolProcess, parts: list[Any]) -> None:
        """Write without blocking. The I/O thread writes the data for which the pipe has no room."""
        if process.outbox:
            process.outbox.extend(memoryview(part).cast("B") for part in parts)
            return
        for position, part in enumerate(parts):
            try:
                written = os.write(process.task_fd, part)
            except BlockingIOError:
                written = 0
            except OSError:
                kill(process.process)   # it is dead, or the application closed the pipe
                return
            if written < memoryview(part).nbytes:
                process.outbox.append(memoryview(part).cast("B")[written:])
                process.outbox.extend(memoryview(rest).cast("B") for rest in parts[position + 1:])
                self.flush_later(process)
                return

    def flush_later(self, process: PoolProcess) -> None:
        """Have the I/O thread write the outbox of a process."""
        assert self._io_thread is not None
        self._io_thread.flush(process)

    def on_writable(self, process: PoolProcess) -> bool:
        """Go on writing to a task pipe that has room again. Return True if data are left.

        Only the I/O thread calls it. (no lock)
        """
        with self.lock:
            outbox = process.outbox
            while outbox and not process.closed:
                data = outbox[0]
                try:
                    written = os.write(process.task_fd, data)
                except BlockingIOError:
                    return True
                except OSError:
                    outbox.clear()      # it is dead: the result pipe reports its end
                    return False
                if written < data.nbytes:
                    outbox[0] = data[written:]
                    return True
                outbox.popleft()
            return False

    def _unsend(self, process: PoolProcess) -> None:
        """Requeue all tasks of a process to which none of them was written: it is idle."""
        back = list(process.inflight)
        process.inflight.clear()
        process.transfers.clear()
        process.lanes.clear()               # _resync() corrects the counts of the lanes
        self.run_queue.requeue([task for task in back if self.lifecycle.revoke(task)])
        if process.tasks_left is not None:
            process.tasks_left += len(back)
        process.inconsistent = False
        self._becomes_idle(process)

    def _interrupted(self, thread: int) -> int:
        left = self.writer.abort_commit()
        if thread == main_thread().ident:
            self.writer.take_back(self._unsend)
        return left

    def _revoke(self, process: PoolProcess) -> list[Task[Any]]:
        """Revoke the tasks that a process has not begun; return them, most urgent first."""
        # No task is lost or run twice: the kernel gives each ticket to exactly one reader.
        if self.writer.processes:
            self.writer.flush()
        if process.inconsistent:
            self._quarantine(process)
        process.inconsistent = True
        taken = 0
        with suppress(OSError):
            while True:
                tickets = os.read(process.ticket_in, 4096)
                if not tickets:
                    break
                taken += len(tickets) // TICKET.size
        taken += process.unsent
        process.unsent = 0
        return self._take_last(process, taken)

    def _take_last(self, process: PoolProcess, taken: int) -> list[Task[Any]]:
        """Remove the last ``taken`` tasks from the tasks in flight; return the queued ones."""
        process.inconsistent = True
        inflight = process.inflight
        back: list[Task[Any]] = []
        for _ in range(min(taken, len(inflight))):
            process.revoking.append(inflight[-1])
            task = inflight.pop()
            if task._spec.lane is not None:
                self._leave_lane(process, task._spec.lane, 1)
            if self.lifecycle.revoke(task):
                back.append(task)
        if taken:
            process.revoked = True
            process.lowest_priority = max([task._spec.priority for task in inflight], default=-1)
            if process.tasks_left is not None:
                process.tasks_left += taken
            if not inflight:
                self._becomes_idle(process)
        back.reverse()
        process.revoking.clear()
        process.inconsistent = False
        return back

    def _leave_lane(self, process: PoolProcess, lane: Lane, count: int) -> None:
        """Subtract tasks of a lane from those of a process. The last one frees a lane's slot."""
        left = process.lanes.get(lane, 0) - count
        if left > 0:
            process.lanes[lane] = left
        elif process.lanes.pop(lane, None) is not None:
            self.run_queue.release_lane(lane)

    def _quarantine(self, process: PoolProcess) -> None:
        """Stop using a process whose pipe state an interrupt left unknown. (lock held)"""
        # It finishes the tasks it has received; tasks still in flight when it exits never started.
        process.inconsistent = False
        process.draining = True
        process.closed = self._departing = True
        self._leave_idle(process)
        process.outbox.clear()
        close_pipe(process.pipes[0])
        self._transfer(process)

    def _revoke_less_urgent(self, priority: int) -> None:
        """Revoke prefetched tasks so that a task of this priority need not wait behind them."""
        back: list[Task[Any]] = []
        for process in self._processes:
            if (process.lowest_priority > priority and len(process.inflight) > 1
                    and not process.revoked):
                back += self._revoke(process)
        back.sort(key=lambda task: (task._spec.priority, task._number))
        self.run_queue.requeue(back)
        self._lowest_priority = max([one.lowest_priority for one in self._processes], default=-1)
        self._refill_idle()

    def _steal(self) -> None:
        """Give an idle process tasks that wait behind the running task of another process."""
        fruitless: tuple[PoolProcess, ...] = ()
        while True:
            victim = None
            for process in self._processes:
                if len(process.inflight) > 1 and not process.revoked and (
                        victim is None or len(process.inflight) > len(victim.inflight)) \
                        and process not in fruitless:
                    victim = process
            if victim is None:
                return
            back = self._revoke(victim)
            if back:
                break
            fruitless += (victim,)      # it has begun them all: a result of it is on the way
        self.run_queue.requeue(back)
        if self._idle:
            # Leave half of them to the victim, which will be idle soon, too.
            self._refill(self._idle[-1], max(2, len(self._idle)))
            self._refill_idle()

    def _becomes_idle(self, process: PoolProcess) -> None:
        self.run_queue.active -= 1
        self.registry.compact()
        process.revoked = False
        process.lowest_priority = -1
        if process.termination is not None or process.closed:
            return
        if process.tasks_left == 0 or process.retiring or (
                len(self._processes) > self.run_queue.slots < self._alive()):
            self._close_when_idle(process)
        else:
            self._idle.append(process)

    def _leave_idle(self, process: PoolProcess) -> None:
        if process in self._idle:
            self._idle.remove(process)

    def _close_when_idle(self, process: PoolProcess) -> None:
        """Let an idle process exit: it reads the end of its task pipe. (lock held)"""
        if not process.closed:
            process.closed = True
            self._departing = True
            self._leave_idle(process)
            if process.outbox:
                # It does not read: it is frozen, or it is about to read tasks that were revoked.
                kill(process.process)
            else:
                close_pipe(process.pipes[0])

    def _close_pipes(self, process: PoolProcess) -> None:
        process.closed = True
        process.outbox.clear()
        process.transfers.clear()
        process.socket_fd = -1
        for pipe in process.pipes:
            close_pipe(pipe)

    def _alive(self) -> int:
        """Return how many processes take tasks, or will when they are ready. (lock held)"""
        return sum(1 for process in self._processes
                   if process.termination is None and not process.closed)
