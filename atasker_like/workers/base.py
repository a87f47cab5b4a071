"""The plain worker: what all workers offer to applications.

The time from a start of a worker to its stop is a :class:`~atasker_like.workers.session.Session`.

Applications derive from workers, and subclasses that were written for atasker may use every name
that atasker does not use. So the names of the package in workers begin with ``_worker``, and those
that are public and new have a :func:`worker_setting` behind them.
"""
from __future__ import annotations

import os
import sys
from _thread import start_new_thread
from types import FunctionType

from .. import _modes
from .._atomics import RLock
from .._checks import (count, ends_traceback, instance, mapping, not_a_function, plain_or_none,
                       runs_when_called, seconds)
from .._generics import Generic, P, T_co
from .._habits import Absent, dir_without_absent
from .._inspect import (accepted_keywords, attribute_of, call_on_error, class_name,
                        is_coroutine_function, name_of, names_keyword, signature_error,
                        signature_of)
from .._log import log
from ..constants import TASK_NORMAL, TT_COROUTINE, TT_MP, TT_THREAD
from ..engine.blocking import deadline_of, deadline_of_stop
from ..engine.spec import undecorated
from ..errors import InvalidArgumentError, InvalidTypeError, SupervisorBusyError
from ..options import TaskOptions, check_unknown
from ..supervisor.stats import WorkerStats
from ..tasks import supervisor_or_default
from .runners import RESTARTS, RunWorker, runner_class
from .session import Session
from .triggers import ContinuousTrigger, Trigger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .._checks import Seconds
    from ..supervisor.supervisor import TaskSupervisor


#: Options of all workers, besides the name and the function.
COMMON_OPTIONS = ("priority", "o", "on_error", "on_error_kwargs", "supervisor", "poll_delay",
                  "daemon", "loop", "restart", "max_restarts", "within")

#: Arguments of start() that are for the worker and not for its function.
_OVERRIDES = ("_name", "_priority", "_interval", "_delay", "_delay_after", "_delay_before", "_loop")


def _check_kind(kind: type[BackgroundWorker], option: str) -> None:
    """Refuse an option that another kind of worker of this package has."""
    package = __name__.partition(".")[0]
    kinds: list[type[BackgroundWorker]] = [BackgroundWorker]
    for other in kinds:
        kinds += other.__subclasses__()
        if (option in other._worker_options and other.__module__.startswith(package)
                and kind.__module__.startswith(package)):
            raise InvalidTypeError(f"{kind.__name__} has no option {option!r}; {other.__name__} "
                                   "has it")


_NO_QUEUE = ("this worker has no queue: make it with @background_worker(q=True), or derive it from "
             "BackgroundQueueWorker")
_NO_EVENT = ("no event triggers this worker: make it with @background_worker(e=True), or derive it "
             "from BackgroundEventWorker")


class _WorkerSetting:
    """A public attribute of workers that atasker does not have.

    The package takes its value from ``_worker_settings``. Under ``legacy.install()`` and ``exec``,
    an attribute of this name that the application assigns is the application's own.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, worker: Any, owner: type | None = None) -> Any:
        if worker is None:
            return self
        own = worker.__dict__
        return own[self._name] if self._name in own else own["_worker_settings"][self._name]

    def __set__(self, worker: Any, value: Any) -> None:
        own = worker.__dict__
        if not _modes.legacy:
            own = own.setdefault("_worker_settings", {})
        own[self._name] = value


def worker_setting(name: str) -> Any:
    """Return a public attribute of workers that atasker does not have."""
    return _WorkerSetting(name)


class BackgroundWorker(Generic[P, T_co], RunWorker):
    """Runs its function again and again, one run at a time, until it is stopped.

    :func:`background_worker` makes one of a function; a subclass defines ``run``. A static ``run``
    goes to the process pool if the supervisor has one. A coroutine function goes to a loop, any
    other function to a pool thread.

    The function receives the arguments of :meth:`start`. If its signature takes them, it also
    receives ``_worker``, ``_name``, ``o`` and, in a process, ``_task_id``. If it returns False, the
    worker stops. If it raises, the worker calls ``on_error``, or logs the error, and goes on.

    Any thread may call the methods; a signal handler may call ``stop(wait=False)``.

    :param name: shown in logs behind ``_background_worker_`` (default: random digits).
    :param executor_func: the function, instead of ``run`` (default: None, the method ``run``).
    :param priority: of its runs; any integer, lower runs first (default: NORMAL).
    :param o: any object, for the function.
    :param on_error: called as ``on_error(**on_error_kwargs)`` inside the ``except`` block. It
        receives the error as ``e=`` if it has a parameter named ``e``; ``**kwargs`` alone does not
        count. If it raises, that is logged.
    :param supervisor: the supervisor to use (default: ``task_supervisor``).
    :param loop: where a coroutine function runs: the name of a loop, an :class:`ALoop` or an
        asyncio loop.
    :param restart: when the worker goes on (default: ``'on_failure'``). ``'on_failure'`` is after a
        failed run. ``'always'`` is also after a run that returned False. A worker without another
        trigger pauses before it goes on: 0.01 s, and twice as long after each further such run. The
        longest pause is 5 s.
    :param max_restarts: the worker stops, with an error in the log, after so many restarts within
        ``within`` seconds (default: no limit).
    :param within: seconds (default: 60).
    :param poll_delay: accepted for old applications; nothing polls.
    :param daemon: ignored, with a warning in the log.
    :param options: an unknown option is an error. If a subclass passes it on, it is ignored, with a
        line at DEBUG in the log.
    :raises InvalidTypeError: (a TypeError) an unknown option, or a value of a wrong type.
    :raises InvalidArgumentError: (a ValueError) an impossible value.

    >>> class Countdown(BackgroundWorker):
    ...     def run(self, numbers):
    ...         return bool(numbers.pop())
    >>> numbers = [0, 1, 2]
    >>> worker = Countdown()
    >>> worker.start(numbers), worker.wait_until_stop(), numbers
    (True, True, [])
    """

    #: For monitors: this is a worker, and its function runs in the process pool.
    _is_worker = True
    _run_in_mp = False

    #: Options of a class beyond those of all workers.
    _worker_options: tuple[str, ...] = ()

    _worker_stops_first = True
    _worker_session: Session | None = None

    restart_policy: str = worker_setting("restart_policy")
    max_restarts: int | None = worker_setting("max_restarts")
    within: float = worker_setting("within")

    if TYPE_CHECKING:
        #: The function, of a worker that was made of one.
        __wrapped__: Callable[P, T_co]

    @ends_traceback
    def __init__(self, name: str | None = None, executor_func: Callable[..., Any] | None = None,
                 **options: Any) -> None:
        known = (*COMMON_OPTIONS, *self._worker_options, "name")
        unknown = [option for option in options if option not in known]
        for option in unknown:
            _check_kind(type(self), option)
        check_unknown(type(self), unknown, known)
        get = options.get
        if executor_func is not None:
            self._worker_set_function(executor_func)
        self._worker_static = executor_func is None
        self._worker_priority: int = TASK_NORMAL
        self._worker_set_priority(get("priority"))
        self.o: Any | None = get("o")
        self.on_error: Callable[..., Any] | None = plain_or_none(
            "on_error", get("on_error"), "have a plain function submit a background_task")
        self.on_error_kwargs: dict[str, Any] = mapping("on_error_kwargs", get("on_error_kwargs"))
        self.supervisor: TaskSupervisor = supervisor_or_default(get("supervisor"))
        self.poll_delay: Any = get("poll_delay", self.supervisor.poll_delay)
        if get("daemon") is not None:
            log.warning("%s: daemon= has no effect; workers never hold the exit of the interpreter",
                        name or type(self).__name__)
        self._worker_loop: Any = get("loop")
        #: For applications, which may guard starts and stops by it. The package does not use it.
        self.start_stop_lock: RLock = RLock()
        policy, most, within = get("restart"), get("max_restarts"), get("within")
        policy = "on_failure" if policy is None else policy
        if policy not in RESTARTS:
            raise InvalidArgumentError(f"restart takes one of {', '.join(RESTARTS)}, not "
                                       f"{policy!r}")
        self._worker_settings: dict[str, Any] = {
            "restart_policy": policy,
            "max_restarts": None if most is None else count("max_restarts", most, 0),
            "within": 60.0 if within is None else seconds("within", within, above=True)}
        self.last_executed: float = 0
        self._worker_runs = self._worker_failures = self._worker_missed = self._worker_restarts = 0
        self._worker_last_duration: float | None = None
        BackgroundWorker._worker_reset_after_fork(self)
        self.set_name(name)
        self._worker_set_up(options)

    if not TYPE_CHECKING:       # the methods of other kinds of workers
        __dir__ = dir_without_absent

        put, put_threadsafe, get_queue_obj = map(Absent, [_NO_QUEUE] * 3)
        trigger, trigger_threadsafe, get_event_obj = map(Absent, [_NO_EVENT] * 3)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """Call the function itself once, in the calling thread: for tests of it.

        The call neither starts the worker nor adds arguments, such as ``_worker``.
        """
        result: T_co = self.run(*args, **kwargs)
        return result

    # -- for subclasses ----------------------------------------------------------------------------

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The function of the worker, for a subclass to define.

        If it returns False, the worker stops.
        """
        raise NotImplementedError

    def process_result(self, result: Any) -> Any:
        """Called in a pool thread with the result of a static ``run``.

        If it returns False, the worker stops.

        :param result: what ``run`` returned.
        """

    def error(self) -> None:
        """Call ``on_error`` for an exception of the function, or log it.

        The worker calls this inside the ``except`` block.

        A subclass may override this. If it raises, that is logged.
        """
        if self.on_error is None:
            log.exception("worker %s: its function raised %s", self.name,
                          class_name(type(sys.exc_info()[1])))
        else:
            call_on_error(self.on_error, self.on_error_kwargs or {})

    def before_start(self) -> None:
        """Called by :meth:`start`. The worker is active if this returns, and not if it raises."""

    def after_start(self) -> None:
        """Called by :meth:`start` when the worker is active."""

    def before_stop(self) -> None:
        """Called by the thread that stops the worker, while it is active."""

    def send_stop_events(self) -> None:
        """Called after :meth:`before_stop`, to wake a function that waits."""

    def after_stop(self) -> None:
        """Called in a pool thread after the last run.

        :meth:`send_stop_events` may still run. Under ``legacy.install()`` and ``exec``, the thread
        that calls :meth:`stop` calls this before :meth:`stop` returns: after the last run, if it
        waits for that.
        """

    # -- lifecycle ---------------------------------------------------------------------------------

    @ends_traceback
    def set_name(self, name: str | None) -> None:
        """Set the name to ``_background_worker_`` and this one, or random digits.

        It holds from the next start on.

        :param name: a text, or None for random digits.
        :raises InvalidTypeError: (a TypeError) the name is not a text.
        """
        text = os.urandom(8).hex() if name is None else instance("name", name, str, "a string")
        self.name: str = f"_background_worker_{text}"

    @ends_traceback
    def start(self, *args: Any, **kwargs: Any) -> bool:
        """Start the worker. The arguments go to each run of its function.

        ``_priority``, ``_interval``, ``_delay``, ``_delay_before`` and ``_loop`` replace the
        worker's own values from now on. ``_name`` and ``o`` are for the function. If the last run
        of an earlier start has not ended, the first run of this start follows it. Any thread may
        call this.

        :return: False if the worker is active, or another thread is starting it; the call does
            nothing then.
        :raises InvalidTypeError: (a TypeError) the function does not take these arguments.
        :raises InvalidArgumentError: (a ValueError) an impossible interval, or an unknown loop.
        :raises SupervisorStoppedError: (a RuntimeError) the supervisor has been stopped, or the
            loop is not active.
        """
        before = self._worker_session
        if before is not None and before.active:
            return False
        hash(self)      # the supervisor keeps workers in a dict: refuse one that has no hash
        starts = self._worker_first_start if before is None else before.next_start
        claim, session = object(), None
        try:
            # One step, so that an interrupt after it finds the claim.
            if starts.setdefault("claim", claim) is not claim:
                return False                    # another start has come first
            # A function of atasker gets them, too.
            overrides = _overrides_in(kwargs) if _modes.legacy else {}
            self._worker_take_overrides(kwargs)
            parts = self.supervisor._supervisor_parts
            if not parts.state.is_running():
                parts.pools.ensure_started()
            session = self._worker_make_session(args, kwargs, overrides)
            session.predecessor = before
            with self._worker_start_lock:
                self._worker_session = session
                self.supervisor.register_sync_scheduler(self)
            # A stop of the supervisor sees the session from here on. An earlier stop makes the next
            # line raise.
            parts.pools.start_timer()
            self.before_start()
            session.announced = True
            self._worker_before_first_step(session)
            if before is None:
                session.begin()
            else:
                before.add_done_callback(session.begin)
            session.starter = None
        except BaseException as error:
            if session is None or self._worker_session is not session:
                if starts.get("claim") is claim:
                    starts.clear()
                raise
            session.active, session.starter = False, None
            if isinstance(error, RecursionError):
                start_new_thread(session.start_failed, ())       # there is no room for it here
            else:
                session.start_failed()
            raise
        self.after_start()
        return True

    @ends_traceback
    def stop(self, wait: bool | Seconds = True) -> bool:
        """Stop the worker: the current run ends, and no run follows.

        A run that waits for a slot is withdrawn. Items of a queue wait for the next start. Any
        thread may call this. In its own run, in its own loop, and in a signal handler that has
        interrupted the supervisor, the worker does not wait.

        :param wait: seconds to wait for the end (default: True); True waits without limit, False
            does not wait. If the time is up, the run is asked to end: a coroutine is cancelled, a
            process is ended, and in a thread ``current_task().check_cancelled()`` raises.
        :return: False if the worker is stopped already, or has not been started.
        """
        deadline = deadline_of_stop(wait)
        session = self._worker_session
        if session is None:
            return False
        try:
            stopped = session.claim_stop()
            if stopped and _modes.legacy:
                self._worker_stop_here(session, wait, deadline)
            elif stopped:
                self._worker_request_stop(session)
        except BaseException:               # an interrupt, at any line: the worker stops anyway
            session.claim_stop()
            session.request_stop()
            session.caller_left()
            raise
        if wait is not False and not self._worker_cannot_wait(session):
            if not session.wait(deadline):
                session.cancel()
        return stopped

    def _worker_request_stop(self, session: Session) -> None:
        try:
            self._worker_call_hook("before_stop")
        finally:
            session.request_stop()
            self._worker_call_hook("send_stop_events")

    def _worker_stop_here(self, session: Session, wait: Any, deadline: float | None) -> None:
        """Stop the session, and call all hooks in this thread."""
        try:
            session.caller_comes()
            self._worker_request_stop(session)
            session.close_here(wait is not False and not self._worker_cannot_wait(session),
                               deadline)
        finally:
            session.caller_left()

    @ends_traceback
    def restart(self, *args: Any, wait: bool | Seconds = True, **kwargs: Any) -> bool:
        """:meth:`stop`, then :meth:`start` with these arguments.

        If the worker restarts itself, its next run is the first one of the new start.

        :param wait: as for :meth:`stop`, in seconds (default: True).
        :return: the answer of :meth:`start`.
        """
        self.stop(wait=wait)
        return self.start(*args, **kwargs)

    def is_active(self) -> bool:
        """Return True if the worker has been started and not stopped."""
        session = self._worker_session
        return session is not None and session.active and session.announced

    def is_started(self) -> bool:
        """Return True if the worker has been started and its last run has not ended."""
        session = self._worker_session
        return session is not None and session.begun and not session.is_over()

    def is_stopped(self) -> bool:
        """Return True if the worker has been stopped and its last run has ended."""
        session = self._worker_session
        return session is not None and session.is_over()

    @ends_traceback
    def wait_until_stop(self, timeout: Seconds | None = None) -> bool:
        """Block until the worker has been stopped and its last run has ended.

        If the worker has not been started, the call does not wait. When it returns, another thread
        may have started the worker again. Any thread may call this.

        :param timeout: seconds to wait at most (default: no limit).
        :return: False if the time is up.
        :raises SupervisorBusyError: (a RuntimeError) the worker itself calls.
        """
        deadline = deadline_of(timeout)
        session = self._worker_session
        if session is None or session.done:
            return True
        if self._worker_cannot_wait(session):
            raise SupervisorBusyError(f"worker {self.name} would wait for itself here: return "
                                      "False, or call stop(wait=False), and have another thread "
                                      "wait")
        return session.wait(deadline)

    @ends_traceback
    def join(self, timeout: Seconds | None = None) -> bool:
        """Block until the worker has nothing left to do. It is not stopped by that.

        A queue worker has nothing left to do when it has handled all items. An event or interval
        worker has nothing left to do when nothing is triggered or due and nothing runs. For any
        other worker this is :meth:`wait_until_stop`: another thread has to stop it. If the worker
        is not active, the call does not wait. Any thread may call this.

        :param timeout: seconds to wait at most (default: no limit).
        :return: False if there is still something to do.
        :raises SupervisorBusyError: (a RuntimeError) the worker itself calls.

        >>> @background_worker(q=True)
        ... def show(number):
        ...     print(number)
        >>> show.put_threadsafe(1), show.start(), show.join(10)
        1
        (None, True, True)
        >>> show.stop()
        True
        """
        deadline = deadline_of(timeout)
        session = self._worker_session
        if session is None or session.done:
            return not self._worker_waiting()
        if session.trigger.is_continuous:
            return self.wait_until_stop(timeout)
        self._worker_before_join()
        if self._worker_cannot_wait(session):
            raise SupervisorBusyError(f"worker {self.name} would wait for itself here; have "
                                      "another thread wait")
        return (session.wait_idle(lambda: not self._worker_waiting(), deadline)
                and not self._worker_waiting())

    def stats(self) -> WorkerStats:
        """Return the state of the worker and its counts since it was made."""
        session = self._worker_session
        return WorkerStats(name=self.name, active=self.is_active(),
                           running=session is not None and session.busy,
                           runs=self._worker_runs, failures=self._worker_failures,
                           missed=self._worker_missed, restarts=self._worker_restarts,
                           waiting=self._worker_waiting(),
                           last_executed=self.last_executed or None,
                           last_duration=self._worker_last_duration)

    def __repr__(self) -> str:
        state = ("new" if self._worker_session is None else "active" if self.is_active()
                 else "stopped" if self.is_stopped() else "stopping")
        return f"<{type(self).__name__} {self.name} {state}>"

    # -- a start -----------------------------------------------------------------------------------

    def _worker_set_up(self, options: dict[str, Any]) -> None:
        """Apply the options of the class. Those of all workers have been applied."""

    def _worker_set_function(self, function: Callable[..., Any]) -> None:
        function = undecorated(function)
        if not callable(function):
            raise not_a_function("a worker", function)
        runs_when_called(function)
        self.run = self.__wrapped__ = function      # type: ignore[method-assign]
        self._worker_static = False

    @property
    def priority(self) -> int:
        """The priority of the runs. A new one holds from the next run on."""
        return self._worker_priority

    @priority.setter
    def priority(self, priority: int) -> None:
        self._worker_set_priority(priority)
        session = self._worker_session
        if session is not None:
            session.runner.set_priority(self._worker_priority)

    def _worker_set_priority(self, priority: Any) -> None:
        if priority is not None:
            self._worker_priority = int(TaskOptions(priority=priority).priority or 0)

    def _worker_take_overrides(self, kwargs: dict[str, Any]) -> None:
        """Remove the values for the worker from the arguments of start(), and apply them."""
        kwargs["_name"] = kwargs.get("_name", self.name)
        self._worker_set_priority(kwargs.pop("_priority", None))
        if "_loop" in kwargs:
            self._worker_loop = kwargs.pop("_loop")
        for name in _OVERRIDES:
            if name != "_name" and name in kwargs:
                raise InvalidTypeError(f"{name}= is for interval workers, and {self.name} is a "
                                       f"{type(self).__name__}")

    def _worker_make_session(self, args: tuple[Any, ...], kwargs: dict[str, Any],
                             overrides: dict[str, Any]) -> Session:
        function = self.run
        if attribute_of(function, "__func__", FunctionType) is BackgroundWorker.run:
            raise InvalidTypeError(f"{type(self).__name__} has nothing to run: define run() in it, "
                                   "or use @background_worker on a function")
        runs_when_called(function)
        static = self._worker_static and isinstance(function, FunctionType)
        tt = TT_COROUTINE if is_coroutine_function(function) else TT_THREAD
        if static and tt == TT_THREAD and self.supervisor.mp_pool is not None:
            tt = TT_MP
        self._run_in_mp = tt == TT_MP
        loop = None
        if tt == TT_COROUTINE:
            loop = self.supervisor._supervisor_parts.pools.loops.resolve(self._worker_loop)
        items = (None,) if self._worker_has_queue else ()
        given: dict[str, Any] = {**overrides, "_worker": self, "_name": kwargs.pop("_name"),
                                 "o": kwargs.pop("o", self.o)}
        if tt == TT_MP:
            self.supervisor.pool_for(TT_MP).refuse_during_import()
            del given["_worker"]        # it cannot be pickled
        signature = signature_of(function)
        taken = accepted_keywords(signature, (*given, "_task_id"), len(items) + len(args))
        kwargs.update((name, value) for name, value in given.items() if name in taken)
        # Coroutine functions get it if they name it: those of atasker do not expect it.
        wants_id = ("_task_id" in taken and "_task_id" not in kwargs
                    and (tt != TT_COROUTINE or names_keyword(function, "_task_id")))
        reason = signature_error(signature, (*items, *args),
                                 dict(kwargs, _task_id=None) if wants_id else kwargs)
        if reason is not None:
            besides = ", besides the item of the queue" if items else ""
            raise InvalidTypeError(f"worker {self.name} cannot call its function "
                                   f"{name_of(function)}: {reason}; give start() what it takes"
                                   f"{besides}")
        self._worker_prepare(loop)
        to_result = self.process_result if static and tt != TT_COROUTINE else None
        kind = runner_class(tt, self.supervisor)
        return Session(kind(self, self._worker_make_trigger(loop), function, args, kwargs, tt,
                            wants_id, to_result, loop))

    def _worker_make_trigger(self, loop: Any) -> Trigger:
        return ContinuousTrigger()

    def _worker_prepare(self, loop: Any) -> None:
        """Prepare the session, which is about to be made. The arguments are good."""

    def _worker_stop_at_once(self) -> None:
        session = self._worker_session
        if session is not None:
            session.stop_at_once()

    def _worker_end(self) -> None:
        session = self._worker_session
        if session is not None:
            session.end()

    def _worker_reset_after_fork(self) -> None:
        self._worker_session = None
        self._worker_first_start: dict[str, object] = {}    # see Session.next_start
        # Guards _worker_session while one session follows another.
        self._worker_start_lock = RLock()

    def _worker_before_first_step(self, session: Session) -> None:
        """Prepare the first step of a session that has been made and has not begun."""

    def _worker_before_join(self) -> None:
        """Prepare a wait for what there is to do."""

    def _worker_cannot_wait(self, session: Session) -> bool:
        return session.is_inside() or self.supervisor._supervisor_parts.shutdown.is_reentrant()

    def _worker_close_runs_code(self) -> bool:
        """Return True if the end of a session calls code of the application."""
        return ("after_stop" in self.__dict__
                or type(self).after_stop is not BackgroundWorker.after_stop)

    def _worker_waiting(self) -> int:
        return 0


def _overrides_in(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: kwargs[name] for name in _OVERRIDES if name in kwargs}
