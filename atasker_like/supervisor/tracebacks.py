"""The text that ``dump()`` writes: the stacks of all running tasks."""
from __future__ import annotations

import sys
from time import perf_counter

from ..engine.task import STARTED
from ..pools import threads as thread_pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable

    from ..engine.task import Task
    from ..pools.base import Pool
    from ..pools.executor.pool import ExternalPool
    from ..pools.process.pool import ProcessPool
    from ..pools.threads import ThreadPool
    from .parts import Parts

__all__ = ["without_pool_frames", "write_stacks"]

#: Names the frames of a pool process's own loop.
_CHILD = 'process/child.py"'


def write_stacks(supervisor_id: str, supervised: Parts, file: Any) -> None:
    """Write the stacks of all running tasks, to stderr if the file is None.

    A signal handler may call it, too.
    """
    file = sys.stderr if file is None else file
    if file is None:        # the program has no stderr
        return
    pools, processes = supervised.pools, supervised.processes
    parts = _of_threads(pools.threads) + _of_coroutines(pools.coroutines)
    if pools.processes is not None and processes.own is not None:
        parts += _of_processes(processes.own)
    if pools.processes is not None and processes.external is not None:
        parts += _of_executor(processes.external)
    count = len(parts)
    tasks = "task" if count == 1 else "tasks"
    file.write(f"supervisor {supervisor_id}: {count} running {tasks}\n" + "".join(parts))
    file.flush()


def _head(task: Task[Any], where: str) -> str:
    seconds = perf_counter() - task._started if task._has_started() else 0.0
    return f"task {task.name} ({task.short_id}), {where}, for {seconds:.1f} s:\n"


def _of_threads(pool: ThreadPool) -> list[str]:
    frames = sys._current_frames()
    parts = []
    for pool_thread in list(pool._threads):
        task, thread = pool_thread.task, pool_thread.thread
        if task is None or thread is None:
            continue
        doing = (", abandoned" if pool_thread.abandoned else ", waiting" if pool_thread.lend_depth
                 else "")
        parts.append(_head(task, f"thread {thread.name}{doing}")
                     + _stack(_walk(frames.get(thread.ident or 0))))
    return parts


def _walk(frame: Any) -> list[tuple[Any, int]]:
    """Return the frames of a pool thread, oldest first, without those of the pool itself."""
    stack: list[tuple[Any, int]] = []
    while frame is not None and frame.f_code is not thread_pool.ThreadPool._thread_main.__code__:
        stack.append((frame, frame.f_lineno))
        frame = frame.f_back
    stack.reverse()
    return stack


def _stack(frames: Iterable[tuple[Any, int]]) -> str:
    from traceback import StackSummary

    text = "".join(StackSummary.extract(iter(frames)).format())
    return text or "  (between two lines of the pool)\n"


def _of_coroutines(pool: Pool) -> list[str]:
    with pool.lock:
        started = [task for task in pool.registry.live.values() if task._status == STARTED]
        running = [(task, task._extra.placement) for task in started
                   if task._extra is not None and task._extra.placement is not None]
    parts = []
    for task, payload in running:
        frames: list[Any] = []
        try:
            frames = payload[1].get_stack() if payload[1] is not None else []
        except RuntimeError:        # it has gone on in its own thread meanwhile
            pass
        parts.append(_head(task, "coroutine")
                     + _stack([(frame, frame.f_lineno) for frame in frames]))
    return parts


def _of_executor(pool: ExternalPool) -> list[str]:
    with pool.lock:
        running = [task for task in pool.registry.live.values() if task._status == STARTED]
    return [_head(task, f"given to {pool.adapter.name}") + "  (which does not tell where)\n"
            for task in running]


def _of_processes(pool: ProcessPool) -> list[str]:
    parts = []
    for pid, (task_id, text) in pool.stacks().items():
        task = None if task_id is None else pool.find(task_id)
        if task is not None:
            parts.append(_head(task, f"process {pid}") + without_pool_frames(text))
    return parts


def without_pool_frames(text: str) -> str:
    """Return the stacks that a pool process has written, without the frames below the function.

    A stack begins with the latest frame. It ends with those of the start of the process and of the
    loop in which the process calls functions.
    """
    kept: list[str] = []
    stack: list[str] = []
    for line in [*text.splitlines(True), ""]:
        if line.startswith("  "):
            stack.append(line)
            continue
        end = len(stack)
        while end and _CHILD not in stack[end - 1]:
            end -= 1
        while end and _CHILD in stack[end - 1]:
            end -= 1
        kept += stack[:end] or stack
        kept.append(line)
        stack = []
    return "".join(kept)
