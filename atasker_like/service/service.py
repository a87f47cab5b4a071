"""Service: the handlers of task classes, and the lane of their tasks.

::

    request ──> handler by type ──> fields checked ──> lane, by priority and arrival ──> handler
                                         └── parallel ──────────────────────────────────────^

The lane runs one task at a time. It belongs to one kind of pool, but the handlers of a service may
be of any kind. The first task decides: the lane belongs to the thread pool if all handlers run in
threads, else to the coroutine pool. A handler of that kind runs in the lane itself. For any other
handler a coroutine, or a thread that lends its slot, occupies the lane and waits for the handler.
"""
from __future__ import annotations

from threading import Lock

from .. import _checks, _fork
from .._checks import ends_traceback, ends_tracebacks
from ..constants import TT_COROUTINE, TT_THREAD
from ..engine.current import current_task
from ..engine.requests import request_accepted
from ..errors import (InvalidArgumentError, InvalidFieldError, InvalidTypeError, QueueFullError,
                      SupervisorStoppedError, TaskRefusedError)
from ..options import TaskOptions, unknown_option
from ..tasks import supervisor_or_default
from .codecs.schema import codec_for
from .handlers import OPTIONS, Handler
from .task import Task as TypedTask
from .wire import shortened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Any, Callable, TypeVar, Unpack

    from ..constants import TaskType
    from ..engine.lanes import Lane
    from ..options import RunOptions
    from ..supervisor.supervisor import TaskSupervisor
    from .addresses import AddressLike
    from .connection import PendingRequest
    from .server import Server, ServerOptions

    R = TypeVar("R")
    T = TypeVar("T", bound=TypedTask)


@ends_tracebacks()
class Service:
    """Handles tasks of declared classes. From any thread.

    :param name: the name of the service, a string, which requests may give as their target.
    :param supervisor: the supervisor that runs the tasks (default: ``task_supervisor``).
    :param max_waiting: the most tasks that are accepted and have not ended (default: 10 000).
        Further ones are refused as ``busy``.
    :raises InvalidTypeError: (a TypeError) an argument has a wrong type.
    :raises InvalidArgumentError: (a ValueError) the name is empty, or the number is below 1.

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

    def __init__(self, name: str, supervisor: TaskSupervisor | None = None,
                 max_waiting: int = 10_000) -> None:
        if not isinstance(name, str):
            raise InvalidTypeError(f"the name of a service is a string, not {type(name).__name__}")
        if not name:
            raise InvalidArgumentError("the name of a service is not empty")
        self.name = name
        self.supervisor: TaskSupervisor = supervisor_or_default(supervisor)
        self.max_waiting: int = _checks.count("max_waiting", max_waiting)
        self._handlers: dict[str, Handler] = {}
        self._lock = Lock()         # guards the fields below; no other code runs with it held
        self._alive = 0             # tasks that are accepted and have not ended
        self._local: Server | None = None       # for clients of this process
        _fork.register(self)

    @property
    def lane(self) -> Lane:
        """The lane of the tasks that run one at a time.

        While it is paused, they wait in it.
        """
        lane = self.supervisor.lane(f"service {self.name}", limit=1)
        lane.lends_slot = False      # one at a time, also while that one waits for other tasks
        return lane

    @property
    def alive(self) -> int:
        """The number of tasks that are accepted and have not ended."""
        return self._alive

    def handler(self, task_class: type[T], tt: TaskType | None = None,
                **options: Unpack[RunOptions]) -> Callable[[Callable[[T], R]], Callable[[T], R]]:
        """Decorate the function that handles the tasks of a class.

        The service calls the function with the task. A coroutine function runs in a loop of the
        supervisor, any other function in a thread, or in a process with ``tt=TT_MP``. A pool
        process must be able to import the function and the task class.

        The return value is sent as JSON. It may contain dataclasses, dates, Decimal, UUID, Enum,
        bytes and sets as well as JSON's own types.

        :param task_class: a subclass of :class:`Task` of this package.
        :param tt: the pool, see :func:`~atasker_like.background_task` (default: by the function).
        :param options: ``priority`` (in the pool), ``timeout``, ``retries`` and related ones,
            ``name``, ``metadata`` and ``ignore_result`` of :class:`~atasker_like.TaskOptions`.
        :raises InvalidTypeError: (a TypeError) ``task_class`` is not a task class, an option does
            not exist, or JSON cannot hold the type of a field.
        :raises InvalidArgumentError: (a ValueError) another class has the same type name.
        """
        if not (isinstance(task_class, type) and issubclass(task_class, TypedTask)
                and task_class is not TypedTask):
            raise InvalidTypeError(f"handler takes a subclass of service.Task, not {task_class!r}; "
                                   "write @service.handler(Calibrate) above the function")
        for option in options:
            if option not in OPTIONS:
                raise unknown_option(option, (*OPTIONS, "tt"), "handler")
        codec_for(task_class)           # raises here, and not when the first request arrives

        @ends_traceback
        def register(function: Callable[[T], R]) -> Callable[[T], R]:
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
            raise InvalidArgumentError(f"service {self.name!r} has a handler for {name} already, "
                                       f"{known.spec.name}")
        known_class = f"{known.task_class.__module__}.{known.task_class.__qualname__}"
        raise InvalidArgumentError(f"service {self.name!r} handles another class of the type "
                                   f"{name!r}, {known_class}; give one of them another type()")

    def serve(self, address: AddressLike, token: str | None = None,
              **options: Unpack[ServerOptions]) -> Server:
        """Listen for requests of other processes, and return the Server.

        The :class:`Server` runs in a loop of the supervisor. It listens when this returns. From any
        thread.

        :param address: a path for a Unix domain socket, or a host and a port such as
            ``'127.0.0.1:8500'``. Only programs of the same user can reach the socket. Port 0 is a
            free port.
            See :class:`Address`.
        :param token: the secret that clients must send, a string of 8 to 1000 characters (default:
            None). TCP needs one. It is sent as plain text: do not leave the loopback.
        :param beyond_loopback: True allows a host that other machines can reach (default: False).
        :param max_message: the most bytes of a message, either way (default: 1 MiB).
        :param max_in_flight: the most requests of one client that have not ended (default: 256).
            Further ones are read later.
        :param max_clients: the most connections (default: 256). Further ones are closed.
        :param message_timeout: seconds from the first byte of a message to its last, and from the
            connection to the token (default: 30 s).
        :raises InvalidTypeError: (a TypeError) an option does not exist, or has a wrong type.
        :raises InvalidArgumentError: (a ValueError) TCP without a token, or a host that other
            machines can reach without ``beyond_loopback=True``.
        :raises ServiceConnectionError: (a ConnectionError) the address is in use, or not available;
            ``errno`` is that of the system's error.
        :raises SupervisorStoppedError: (a RuntimeError) the supervisor has been stopped, or this is
            its own loop.
        """
        from .server import Server

        if address is None:     # the Server would take clients of this process only
            raise InvalidTypeError("serve takes an address, not None: a path for a Unix domain "
                                   "socket, or a host and a port")
        return Server(self, address, token, **options).start()

    def _lane_tt(self) -> TaskType:
        """Return the kind of pool that the lane belongs to.

        The first task decides it.
        """
        pool = self.lane.pool
        if pool is not None:
            kind: TaskType = pool.tt      # type: ignore[attr-defined]
            return kind
        in_threads = all(handler.spec.tt == TT_THREAD for handler in list(self._handlers.values())
                         if not handler.task_class.parallel)
        return TT_THREAD if in_threads else TT_COROUTINE

    # -- for the server ----------------------------------------------------------------------------

    def _accept(self, message: dict[str, Any], request: PendingRequest) -> None:
        """Accept the task of a valid request.

        In the server's loop, without blocking it.

        The request gets its ``task`` before it is called, once, at the end of the task.

        :raises TaskRefusedError: the task is refused. Its handler does not run, and the request is
            not called.
        """
        target, name = message.get("target"), message["type"]
        if target is not None and target != self.name:
            raise TaskRefusedError(f"this is service {self.name!r}, not {shortened(target, 60)!r}",
                                   "unknown")
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
            raise TaskRefusedError(f"service {self.name!r} has accepted {self.max_waiting} tasks "
                                   "that have not ended; try again later", "busy")
        try:
            priority = (message.get("metadata") or {}).get("priority")
            handler.start(task, task.priority if priority is None else priority, request)
        except BaseException as error:
            self._task_done()
            if isinstance(error, QueueFullError):
                raise TaskRefusedError(f"service {self.name!r} has no room for the task: {error}",
                                       "busy") from error
            if isinstance(error, SupervisorStoppedError):
                raise TaskRefusedError(f"service {self.name!r} takes no more tasks: {error}",
                                       "stopped") from error
            raise
        request_accepted(request.request_id, request.task)

    def _is_running_here(self) -> bool:
        """Return True if the caller is a handler of this service."""
        spec = getattr(current_task(), "_spec", None)
        if spec is None:
            return False
        return any(spec.target is handler.spec.target for handler in list(self._handlers.values()))

    def _task_done(self) -> None:
        with self._lock:
            self._alive -= 1

    def _unknown_type(self, name: str) -> str:
        hint = _checks.nearest(name, self._handlers,
                               f"it handles {', '.join(sorted(self._handlers)) or 'none'}")
        return f"service {self.name!r} handles no tasks of type {shortened(name, 60)!r}; {hint}"

    def _get_local_server(self) -> Server:
        """Return the server for clients of this process.

        The first call makes it.
        """
        from .server import Server

        with self._lock:
            if self._local is None:
                self._local = Server(self, None, None)
            return self._local

    def _reset_after_fork(self) -> None:
        self._lock = Lock()
        self._alive = 0
        self._local = None

    def __repr__(self) -> str:
        return f"<Service {self.name}: {', '.join(sorted(self._handlers)) or 'no handlers'}>"
