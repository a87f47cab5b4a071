"""The exit of the interpreter: what keeps a program alive after its main thread, and how supervisors end.

::

    main thread ends ─> threading._shutdown ─> hold: workers and schedulers of a supervisor that was started
                                           ─> application threads end    (such a supervisor still accepts)
                                           ─> finish: stop every supervisor, within no deadline

The interpreter calls ``threading._shutdown`` when the main thread has ended. This module wraps it. A hook registered
with ``threading._register_atexit`` would run after those that are registered later, and ``concurrent.futures`` refuses
work as soon as its own hook has run: a worker that is held could then no longer use ``asyncio.to_thread``, nor import
``concurrent.futures.thread``. Before Python 3.9 that function does not exist, and ``atexit`` comes after the threads.
"""
from __future__ import annotations

import atexit
import builtins
import os
import sys
import threading
import weakref

from .._log import log
from ..engine.result import log_unseen
from ..errors import SupervisorStoppedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .supervisor import TaskSupervisor

__all__ = ["arm", "check_exit", "finish_all", "supervisors"]

#: Every supervisor of the process.
supervisors: weakref.WeakSet[TaskSupervisor] = weakref.WeakSet()

_plain_shutdown: Callable[[], None] | None = None       # what arm() has wrapped
_holding = False        # _shutdown() runs, and supervisors may take tasks as before
_finishing = False      # supervisors take no more tasks, as the interpreter is about to exit


def arm() -> None:
    """Have supervisors finish when the main thread ends. May be called again.

    :raises SupervisorStoppedError: the interpreter is about to exit.
    """
    global _plain_shutdown
    check_exit()
    if _plain_shutdown is None:
        _plain_shutdown = getattr(threading, "_shutdown", None)
        if _plain_shutdown is None:         # a later Python: at least nothing that was accepted is lost
            _plain_shutdown = _nothing
            atexit.register(_shutdown)
        else:
            setattr(threading, "_shutdown", _shutdown)


def check_exit() -> None:
    """Refuse what would start something when the interpreter is about to exit.

    :raises SupervisorStoppedError: with the cause and the way out.
    """
    if sys.is_finalizing():
        raise SupervisorStoppedError("the interpreter is being finalized, and no task would run; submit earlier")
    if _finishing or not (_holding or threading.main_thread().is_alive()):
        raise SupervisorStoppedError(
            "the main thread has ended, so supervisors have finished their tasks and take no more; to go on while "
            "other threads live, call task_supervisor.start() before the main thread ends")


def _nothing() -> None:
    pass


def _shutdown() -> None:
    """Stands in for ``threading._shutdown``: the main thread has ended."""
    global _holding
    assert _plain_shutdown is not None
    if _finishing:
        return _plain_shutdown()
    _holding = True
    joined, interrupted = False, _ended_by_interrupt()
    try:
        if not interrupted:
            _hold()
        if not interrupted and _application_threads() and any(supervisor._outlives_main() for supervisor in supervisors):
            # Their threads may submit as long as they live. The executors that the application has put in the position
            # of a process pool are shut down before that, so what was accepted so far goes first.
            for supervisor in list(supervisors):
                supervisor._drain()
            joined = True
            _plain_shutdown()
            _hold()         # workers that these threads have started
    except KeyboardInterrupt:
        interrupted = True
    finish_all(interrupted)
    if not joined:
        _plain_shutdown()
    elif interrupted:
        raise KeyboardInterrupt


def _hold() -> None:
    """Block as long as something keeps the program alive; say once what does."""
    said = False
    while True:
        for supervisor in list(supervisors):
            reasons = supervisor._holds_exit()
            if reasons:
                break
        else:
            return
        if not said:
            log.info("supervisor %s keeps the program alive: %s; call its stop() to end it, or press Ctrl-C",
                     supervisor.id, ", ".join(reasons))
            said = True
        supervisor._wait_for_release()


def _application_threads() -> list[threading.Thread]:
    """Return the threads that the interpreter waits for, but for those of executors, which its own hooks end."""
    executors: Any = getattr(sys.modules.get("concurrent.futures.thread"), "_threads_queues", ())
    return [thread for thread in threading.enumerate()
            if not thread.daemon and thread is not threading.main_thread() and thread not in executors]


def _ended_by_interrupt() -> bool:
    """Return True if Ctrl-C has ended the main thread."""
    # In an interactive session the last error says nothing about how the session ends.
    if hasattr(sys, "ps1") or sys.flags.interactive or hasattr(builtins, "__IPYTHON__"):
        return False
    return issubclass(getattr(sys, "last_type", None) or Exception, KeyboardInterrupt)


def finish_all(interrupted: bool = False) -> None:
    """Finish what was accepted, since the process is about to end.

    After Ctrl-C only what runs is finished. A second Ctrl-C ends everything at once.
    """
    global _finishing
    _finishing = True
    try:
        for supervisor in list(supervisors):
            if not supervisor._is_in_use():
                continue        # a process that was forked has those of its parent, none of them started
            if interrupted:
                cancelled = supervisor.cancel_waiting()
                if cancelled:
                    log.warning("supervisor %s: %d task(s) that had not started are cancelled, since the program was "
                                "interrupted", supervisor.id, cancelled)
            supervisor.stop(wait=True, drain=False if interrupted else None)
    except KeyboardInterrupt:
        for supervisor in list(supervisors):
            processes = supervisor._processes
            if processes is not None:
                processes.kill_all()
        log_unseen()                # nothing registered with atexit is called
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:       # closed, or nothing reads it any more
                pass
        os._exit(130)               # what a shell expects of a program ended by SIGINT


def _after_fork() -> None:
    global _finishing, _holding
    _finishing = _holding = False
    for supervisor in list(supervisors):
        supervisor.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
