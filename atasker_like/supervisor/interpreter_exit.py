"""The exit of the interpreter: what keeps a program alive after its main thread, and how it ends.

::

    main thread ends ─> threading._shutdown
        ─> hold: workers and schedulers of a supervisor that was started explicitly
        ─> threads of the application end       (such a supervisor still accepts tasks)
        ─> finish: stop every supervisor, without a deadline

The interpreter calls ``threading._shutdown`` when the main thread has ended. This module wraps it.
A hook registered with ``threading._register_atexit`` would run after those that are registered
later. ``concurrent.futures`` refuses work as soon as its own hook has run: a held worker could no
longer use ``asyncio.to_thread``, nor import ``concurrent.futures.thread``. Before Python 3.9 that
function does not exist, and ``atexit`` hooks run after the threads have ended.
"""
from __future__ import annotations

import atexit
import builtins
import os
import sys
import threading
import weakref
from functools import partial

from .. import _modes
from .._core_errors import SupervisorStoppedError
from .._log import log
from .._patched import follow, has_changed
from .._threads import PackageThread, follow_thread_class
from ..engine.result import log_unseen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Protocol

    class Supervisor(Protocol):
        """A supervisor, as the modules below TaskSupervisor see it."""

        id: str
        daemon: bool
        _supervisor_parts: Any      # Parts

        def stop(self, wait: bool = True) -> Any: ...
        def cancel_waiting(self) -> int: ...
        def get_task(self, task_id: str) -> Any: ...


#: Every supervisor of the process.
supervisors: weakref.WeakSet[Supervisor] = weakref.WeakSet()

_plain_shutdown: Callable[[], None] | None = None       # the function that arm() has wrapped
_holding = False        # _shutdown() runs, and supervisors may accept tasks as before
_finishing = False      # supervisors accept no tasks, since the interpreter is about to exit


def arm() -> None:
    """Have supervisors finish when the main thread ends. It may be called again.

    :raises SupervisorStoppedError: the interpreter is about to exit.
    """
    global _plain_shutdown
    check_exit()
    if _plain_shutdown is None:
        _plain_shutdown = getattr(threading, "_shutdown", None)
        if _plain_shutdown is None:     # a later Python: at least no accepted task is lost
            _plain_shutdown = _nothing
            atexit.register(_shutdown)
        else:
            setattr(threading, "_shutdown", _shutdown)


def check_exit() -> None:
    """Raise an error if the interpreter is about to exit.

    :raises SupervisorStoppedError: with the cause and the way out.
    """
    if sys.is_finalizing():
        raise SupervisorStoppedError("the interpreter is being finalized, and no task would run; "
                                     "submit earlier")
    if _finishing or not (_holding or threading.main_thread().is_alive()):
        raise SupervisorStoppedError(
            "the main thread has ended, so supervisors have finished their tasks and take no more; "
            "to go on while other threads live, call task_supervisor.start() before the main "
            "thread ends")


def _nothing() -> None:
    pass


def _shutdown() -> None:
    """Replace ``threading._shutdown``: the main thread has ended."""
    global _holding
    assert _plain_shutdown is not None
    if _finishing:
        return _plain_shutdown()
    _holding = True
    joined, interrupted = False, _ended_by_interrupt()
    try:
        if not interrupted:
            _hold()
        if not interrupted and _application_threads() and any(map(_outlives_main, supervisors)):
            # These threads may submit tasks as long as they live. Executors that the application
            # has put in the position of a process pool are shut down before these threads end.
            # So the tasks that were accepted so far end first.
            for supervisor in list(supervisors):
                supervisor._supervisor_parts.pools.drain()
            joined = True
            _plain_shutdown()
            _hold()         # for workers that these threads have started
    except KeyboardInterrupt:
        interrupted = True
    finish_all(interrupted)
    if _modes.legacy:
        _join_abandoned()
    if not joined:
        _plain_shutdown()
    elif interrupted:
        raise KeyboardInterrupt


def _hold() -> None:
    """Block as long as something keeps the program alive; log once what keeps it."""
    logged = False
    while True:
        for supervisor in list(supervisors):
            reasons = _holds_exit(supervisor)
            if reasons:
                break
        else:
            return
        if not logged:
            log.info("supervisor %s keeps the program alive: %s; call its stop() to end it, or "
                     "press Ctrl-C", supervisor.id, ", ".join(reasons))
            logged = True
        supervisor._supervisor_parts.state.wait_for_release(partial(_holds_exit, supervisor))


def _outlives_main(supervisor: Supervisor) -> bool:
    state = supervisor._supervisor_parts.state
    return state.explicit and not supervisor.daemon and bool(state.is_running())


def _holds_exit(supervisor: Supervisor) -> list[str]:
    """Return what keeps the program alive on behalf of a supervisor."""
    if not _outlives_main(supervisor):
        return []
    reasons: list[str] = supervisor._supervisor_parts.schedulers.active()
    if not reasons and _modes.legacy:
        reasons = ["it was started and has not been stopped"]
    return reasons


def _application_threads() -> list[threading.Thread]:
    """Return the threads that the interpreter waits for, but for those that its own hooks end."""
    executors: Any = getattr(sys.modules.get("concurrent.futures.thread"), "_threads_queues", ())
    return [thread for thread in threading.enumerate()
            if not (thread.daemon or thread is threading.main_thread() or thread in executors
                    or isinstance(thread, PackageThread))]


def _ended_by_interrupt() -> bool:
    """Return True if Ctrl-C has ended the main thread."""
    # In an interactive session the last error is not the end of the session.
    if hasattr(sys, "ps1") or sys.flags.interactive or hasattr(builtins, "__IPYTHON__"):
        return False
    return issubclass(getattr(sys, "last_type", None) or Exception, KeyboardInterrupt)


def finish_all(interrupted: bool = False) -> None:
    """Finish the accepted tasks, since the process is about to end.

    After Ctrl-C only running tasks are finished. A second Ctrl-C ends the process at once.
    """
    global _finishing
    try:
        _finishing = True
        _stop_all(interrupted)
    except KeyboardInterrupt:
        if not interrupted:             # the first one comes while the tasks are finished
            return finish_all(interrupted=True)
        _end_at_once()


def _stop_all(interrupted: bool) -> None:
    for supervisor in list(supervisors):
        parts = supervisor._supervisor_parts
        if not parts.in_use():
            continue            # a forked process has those of its parent, none of them started
        if interrupted:
            parts.shutdown.drains_by_default = False
            cancelled = supervisor.cancel_waiting()
            if cancelled:
                log.warning("supervisor %s: %d task(s) that had not started are cancelled, "
                            "since the program was interrupted", supervisor.id, cancelled)
            parts.pools.report_running(supervisor.id)
        supervisor.stop(wait=True)      # a subclass may override it, and know no more arguments


def _end_at_once() -> None:
    """End the process after a second Ctrl-C."""
    for supervisor in list(supervisors):
        processes = supervisor._supervisor_parts.pools.processes
        if processes is not None:
            processes.kill_all()
    log_unseen()                # no atexit hook is called
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:       # it is closed, or its pipe has no reader
            pass
    os._exit(130)               # the status that a shell expects after SIGINT


def _join_abandoned() -> None:
    """Wait for the pool threads that a stop has abandoned, as atasker's executors do at the exit.

    All supervisors are stopped: a thread ends when its function has returned. Ctrl-C ends the
    process at once.
    """
    running = [thread for thread in threading.enumerate()
               if isinstance(thread, PackageThread) and thread.runs_tasks]
    if not running:
        return
    log.info("%d thread(s) whose tasks a stop has abandoned keep the program alive (%s); press "
             "Ctrl-C to end it", len(running), ", ".join(thread.name for thread in running))
    try:
        for thread in running:
            thread.join()
    except KeyboardInterrupt:
        _end_at_once()


def follow_threads() -> None:
    """If the application has replaced threads, have idle supervisors use what replaces them.

    It is called before a supervisor starts. Greenlets cannot interrupt it, since they switch only
    where they wait.
    """
    if not has_changed():
        return
    follow()
    follow_thread_class()
    for supervisor in list(supervisors):
        parts = supervisor._supervisor_parts
        if parts.state.has_stopped() or not parts.in_use():
            parts.renew_locks()
        else:
            log.warning("the application has replaced threads while supervisor %s runs, which "
                        "keeps the threads and locks that it has; patch before the first task, or "
                        "call stop() first", supervisor.id)


def _after_fork() -> None:
    global _finishing, _holding
    _finishing = _holding = False
    for supervisor in list(supervisors):
        supervisor._supervisor_parts.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
