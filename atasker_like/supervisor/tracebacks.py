"""The text that ``dump()`` writes: the stacks of all running tasks."""
from __future__ import annotations

import sys
from time import perf_counter

from .._checks import a_kind
from .._inspect import described
from .._log import log
from ..engine.task import STARTED
from ..errors import InvalidTypeError
from ..pools.coroutines import CoroutinePool
from ..pools.threads import ThreadPool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..engine.task import Task
    from ..pools.base import Pool
    from ..pools.executor.pool import ExternalPool
    from ..pools.process.pool import ProcessPool
    from .parts import Parts


#: Names the frames of a pool process's own loop, and all frames of this package.
_CHILD = 'process/child.py"'
_PACKAGE = __name__.partition(".")[0]
_OF_PACKAGE = f"/{_PACKAGE}/"


def write_stacks(supervisor_id: str, supervised: Parts, file: Any) -> None:
    """Write the stacks of all running tasks, to stderr if the file is None.

    A signal handler may call it, too. So a file that takes no text, such as one on a full disk, is
    logged, and raises nothing in the code that the signal has interrupted.
    """
    if file is not None and not hasattr(file, "write"):
        raise InvalidTypeError(f"file takes an open text file, not {a_kind(file)}")
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
    try:
        file.write(f"supervisor {supervisor_id}: {count} running {tasks}\n" + "".join(parts))
        file.flush()
    except (OSError, ValueError) as error:
        log.error("the stacks of the running tasks could not be written: %s", described(error))


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
                     + _stack(_walk(frames.get(thread.ident or 0), ThreadPool._thread_main)))
    return parts


def _walk(frame: Any, caller: Any) -> list[tuple[Any, int]]:
    """Return the frames of a thread, oldest first, from those that a function has called on."""
    stack: list[tuple[Any, int]] = []
    while frame is not None and frame.f_code is not caller.__code__:
        stack.append((frame, frame.f_lineno))
        frame = frame.f_back
    stack.reverse()
    return stack if frame is not None else []


def _stack(frames: list[tuple[Any, int]]) -> str:
    """Return the text of a stack, without the frames of this package that call the function."""
    from traceback import StackSummary

    first = next((number for number, (frame, _) in enumerate(frames)
                  if str(frame.f_globals.get("__name__")).partition(".")[0] != _PACKAGE), 0)
    text = "".join(StackSummary.extract(iter(frames[first:])).format())
    return text or "  (between two lines of the pool)\n"


def _of_coroutines(pool: Pool) -> list[str]:
    with pool.lock:
        running = [(task, None if task._extra is None else task._extra.placement)
                   for task in pool.registry.in_state(STARTED)]
    parts = []
    for task, payload in running:
        if payload is None:
            continue
        # There is no asyncio task in the first step, and the loop may have tasks of its own kind.
        coroutine = getattr(payload[1], "get_coro", lambda: None)()
        if coroutine is None or getattr(coroutine, "cr_running", False):
            thread = getattr(payload[0].loop, "_thread_id", None)
            frames = _walk(sys._current_frames().get(thread or 0), CoroutinePool._run_coroutine)
        else:
            frames = _awaiting(coroutine)[1:]       # the first one is that of the pool
        parts.append(_head(task, "coroutine") + _stack(frames))
    return parts


def _awaiting(coroutine: Any) -> list[tuple[Any, int]]:
    """Return the frames of a suspended coroutine, and of those that it awaits."""
    frames = []
    while coroutine is not None:
        kind = next((kind for kind in ("cr", "gi", "ag") if hasattr(coroutine, f"{kind}_frame")),
                    None)
        frame: Any = getattr(coroutine, f"{kind}_frame") if kind else None
        if frame is None:       # it has ended meanwhile, or awaits an object of another kind
            break
        frames.append((frame, frame.f_lineno))
        coroutine = getattr(coroutine, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
    return frames


def _of_executor(pool: ExternalPool) -> list[str]:
    with pool.lock:
        running = pool.registry.in_state(STARTED)
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

    A written stack begins with the latest frame. It ends with those of the start of the process and
    of the loop in which the process calls functions. A returned one ends with the latest frame, as
    tracebacks do. If there is one thread, the line with its number is left out.
    """
    kept: list[str] = []
    stack: list[str] = []
    lines = text.splitlines(True)
    heads = sum(not line.startswith("  ") for line in lines)
    for line in [*lines, ""]:
        if line.startswith("  "):
            stack.append(line)
            continue
        end = len(stack)
        while end and _CHILD not in stack[end - 1]:
            end -= 1
        while end and _CHILD in stack[end - 1]:
            end -= 1
        own = end       # what wraps the function, such as the calls of a queue
        while own and _OF_PACKAGE in stack[own - 1].replace("\\", "/"):
            own -= 1
        kept += reversed(stack[:own] or stack[:end] or stack)
        if heads > 1:
            kept.append(line.replace("call first", "call last"))
        stack = []
    return "".join(kept)
