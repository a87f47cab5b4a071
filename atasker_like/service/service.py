"""Service: the handlers of task classes, and how their tasks run.

::

    request ──> handler by type ──> fields checked ──> lane, one at a time, in order of rank and arrival ──> handler
                                         └── parallel ──────────────────────────────────────────────────────────^

A lane belongs to one kind of pool, and the handlers of a service may be of any. It stands before the thread pool where all
of them run in threads when the first task comes, else before the coroutine pool. What runs in the lane is the handler
itself where it is of that kind; else a thread, which lends its place in the pool, or a coroutine, that waits for the handler.
"""
from __future__ import annotations

import os
import weakref
from threading import Lock

from .. import _checks
from ..constants import TT_COROUTINE, TT_THREAD
from ..engine.current import current_task
from ..errors import (InvalidArgumentError, InvalidFieldError, InvalidTypeError, QueueFullError,
                      SupervisorStoppedError, TaskRefusedError)
from ..options import TaskOptions, unknown_option
from ..supervisor.supervisor import TaskSupervisor
from ..tasks import task_supervisor
from .codecs.schema import codec_for
from .handlers import OPTIONS, Handler
from .task import Task as TypedTask
from .wire import shortened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    from ..constants import TaskType
    from ..engine.lanes import Lane
    from .connection import PendingRequest
    from .server import Server

    F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["Service"]


class Service:
    """Handles tasks of declared classes. May be used from any thread.

    :param name: by which requests name it as their target.
    :param supervisor: the supervisor to use; ``task_supervisor`` unless told.
    :param max_waiting: tasks that may be accepted and not ended at the same time; further ones are refused as ``busy``.
    :raises InvalidTypeError: (a TypeError) an argument of a wrong type.
    :raises InvalidArgumentError: (a ValueError) an empty name, or a number below 1.

    >>> from atasker_like import service
    >>> class Add(service.Task):
    ...     a: int
    ...     b: int = 1
    >>> calculator = service.Service('calculator')
    >>> @calculator.handler(Add)
    ... def add(task):
    ...     return task.a + task.b
    >>> with service.SyncClient(calculator) as client:
    ...     client.execute(Add(2)).result
    3
    """

    def __init__(self, name: str, supervisor: TaskSupervisor | None = None, max_waiting: int = 10_000) -> None:
        if not isinstance(name, str):
            raise InvalidTypeError(f"the name of a service is a string, not {type(name).__name__}")
        if not name:
            raise InvalidArgumentError("the name of a service is not empty")
        self.name = name
        self.supervisor: TaskSupervisor = task_supervisor if supervisor is None else supervisor
        if not isinstance(self.supervisor, TaskSupervisor):
            raise InvalidTypeError(f"supervisor takes a TaskSupervisor, not {type(supervisor).__name__}")
        self.max_waiting = _checks.count("max_waiting", max_waiting)
        self._handlers: dict[str, Handler] = {}
        self._lock = Lock()         # guards what follows, in sections that call nothing
        self._alive = 0             # tasks accepted and not ended
        self._local: Server | None = None      # for clients of this process that were given the service itself
        _services.add(self)

    @property
    def lane(self) -> Lane:
        """The lane of the tasks that run one at a time: they wait in it while it is paused."""
        lane = self.supervisor.lane(f"service {self.name}", limit=1)
        lane.lends = False      # one at a time, also while the one waits for something
        return lane

    @property
    def alive(self) -> int:
        """How many of its tasks have been accepted and have not ended."""
        return self._alive

    def handler(self, task_class: type[TypedTask], tt: TaskType | None = None,
                **options: Any) -> Callable[[F], F]:
        """Decorate the function that handles tasks of a class; it is called with the task.

        A coroutine function runs in a loop of the supervisor, another one in a thread, or in a process with
        ``tt=TT_MP``: its class and itself must be importable there. What it returns is sent as JSON: beside JSON's own
        types dataclasses, dates, Decimal, UUID, Enum, bytes and sets are turned into it.

        ``priority`` (the pool's), ``timeout``, ``retries`` and the like, ``name`` and ``metadata`` are those of
        :class:`TaskOptions`.

        :raises InvalidTypeError: (a TypeError) no task class, an option that does not exist, or a field's type that JSON
            has no form for.
        :raises InvalidArgumentError: (a ValueError) another class has the same type name.
        """
        if not (isinstance(task_class, type) and issubclass(task_class, TypedTask) and task_class is not TypedTask):
            raise InvalidTypeError(f"handler takes a subclass of service.Task, not {task_class!r}; write "
                                   "@service.handler(Calibrate) above the function")
        for option in options:
            if option not in OPTIONS:
                raise unknown_option(option, (*OPTIONS, "tt"), "handler")
        codec_for(task_class)             # now, and not when the first request comes

        def register(function: F) -> F:
            self._register(Handler(self, task_class, function, tt, TaskOptions(**options)))
            return function

        return register

    def _register(self, handler: Handler) -> None:
        name = handler.task_class.type()
        with self._lock:
            known = self._handlers.setdefault(name, handler)
        if known is handler:
            return
        if known.task_class is handler.task_class:
            raise InvalidArgumentError(f"service {self.name!r} has a handler for {name} already, {known.spec.name}")
        raise InvalidArgumentError(f"service {self.name!r} handles another class of the type {name!r}, "
                                   f"{known.task_class.__module__}.{known.task_class.__qualname__}; give one of them "
                                   "another type()")

    def serve(self, address: Any, token: str | None = None, **options: Any) -> Server:
        """Take requests of other processes, in a loop of the supervisor; return the :class:`Server` when it listens.

        :param address: a path for a Unix domain socket, which only programs of the same user can reach; or a host and a
            port such as ``'127.0.0.1:8500'``, with port 0 for a free one. See :class:`Address`.
        :param token: what clients must know; needed for TCP. It crosses as it is: keep to the loopback.
        :param beyond_loopback: True allows a host that other machines can reach.
        :param max_message: bytes of a message at most, either way; 1 MiB unless told.
        :param max_in_flight: requests of one client at a time; 256 unless told. Further ones are not read meanwhile.
        :param max_clients: connections at a time; 256 unless told. Further ones are closed.
        :param message_timeout: seconds in which the rest of a message must follow its beginning, and the token the
            connection; 30 unless told.
        :raises InvalidTypeError: (a TypeError) an unknown option, or one of a wrong type.
        :raises InvalidArgumentError: (a ValueError) TCP without a token, or beyond the loopback without being asked for.
        :raises OSError: the address is taken, or not to be had.
        :raises SupervisorStoppedError: (a RuntimeError) the supervisor has been stopped, or this is its own loop.

        From any thread.
        """
        from .server import Server

        return Server(self, address, token, **options).start()

    def _lane_tt(self) -> TaskType:
        """Return which pool the lane stands before; the first task settles it."""
        pool = self.lane.pool
        if pool is not None:
            kind: TaskType = pool.tt      # type: ignore[attr-defined]
            return kind
        in_threads = all(handler.spec.tt == TT_THREAD for handler in list(self._handlers.values())
                         if not handler.task_class.parallel)
        return TT_THREAD if in_threads else TT_COROUTINE

    # -- for the server ------------------------------------------------------------------------------

    def _accept(self, message: dict[str, Any], request: PendingRequest) -> None:
        """Accept the task of a request that has been checked for its form; in the server's loop, which does not wait.

        The call has its task before it is called, once, when that has ended.

        :raises TaskRefusedError: it is not accepted, and its handler will not run; the call is not made.
        """
        target, name = message.get("target"), message["type"]
        if target is not None and target != self.name:
            raise TaskRefusedError(f"this is service {self.name!r}, not {shortened(target, 60)!r}", "unknown")
        handler = self._handlers.get(name)
        if handler is None:
            raise TaskRefusedError(self._unknown_type(name), "unknown")
        try:
            task = handler.task_class.from_payload(message.get("payload"))
        except InvalidFieldError as error:
            raise TaskRefusedError(str(error), "invalid") from error
        with self._lock:
            full = self._alive >= self.max_waiting
            if not full:
                self._alive += 1
        if full:
            raise TaskRefusedError(f"service {self.name!r} has accepted {self.max_waiting} tasks that have not ended; try "
                                   "again later", "busy")
        try:
            priority = (message.get("metadata") or {}).get("priority")
            handler.start(task, task.priority if priority is None else priority, request)
        except BaseException as error:
            self._task_done()
            if isinstance(error, QueueFullError):
                raise TaskRefusedError(f"service {self.name!r} has no room for the task: {error}", "busy") from error
            if isinstance(error, SupervisorStoppedError):
                raise TaskRefusedError(f"service {self.name!r} takes no more tasks: {error}", "stopped") from error
            raise

    def _is_running_here(self) -> bool:
        """Say whether this is called by a handler."""
        spec = getattr(current_task(), "_spec", None)
        return spec is not None and any(spec.target is handler.spec.target for handler in list(self._handlers.values()))

    def _task_done(self) -> None:
        """A task that was accepted has ended."""
        with self._lock:
            self._alive -= 1

    def _unknown_type(self, name: str) -> str:
        from difflib import get_close_matches

        near = get_close_matches(name, self._handlers, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it handles {', '.join(sorted(self._handlers)) or 'none'}"
        return f"service {self.name!r} handles no tasks of type {shortened(name, 60)!r}; {hint}"

    def _get_local_server(self) -> Server:
        """Return the server of clients in this process; made on first use."""
        from .server import Server

        with self._lock:
            if self._local is None:
                self._local = Server(self, None, None)
            return self._local

    def reset_after_fork(self) -> None:
        """In a forked process: what runs is the parent's, and so are its clients."""
        self._lock = Lock()
        self._alive = 0
        self._local = None

    def __repr__(self) -> str:
        return f"<Service {self.name}: {', '.join(sorted(self._handlers)) or 'no handlers'}>"


_services: weakref.WeakSet[Service] = weakref.WeakSet()


def _after_fork() -> None:
    for service in list(_services):
        service.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
