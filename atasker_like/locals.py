"""A namespace for each thread, and locks with a timeout."""
from __future__ import annotations

import threading

from . import _modes
from ._atomics import RLock
from ._checks import ends_traceback, ends_tracebacks, refuse, seconds_or_none
from ._inspect import attribute_of, copy_metadata, is_coroutine_function, name_of
from ._log import log
from .errors import InvalidArgumentError, InvalidTypeError, WaitTimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Callable, TypeVar

    from ._checks import Seconds

    Function = TypeVar("Function", bound=Callable[..., Any])

__all__ = ["LocalProxy", "Locker", "g"]


class LocalProxy(threading.local):
    """A namespace of each thread: only this thread sees ``g.user = 'me'``.

    A pool thread keeps its namespace from one task to the next, so a task should clear the
    attributes that it sets. All coroutines of a loop share the namespace of the loop's thread. A
    pool process has its own. For a value that follows a task to the place where it runs, use a
    :class:`contextvars.ContextVar`: tasks in threads and loops run in the context of their
    submitter.

    Any attribute can be set, except the names of the methods.

    >>> g.answer = 42
    >>> g.get('answer'), g.get('question', 'none'), g.has('question')
    (42, 'none', False)
    >>> g.clear('answer')
    >>> g.has('answer')
    False
    """

    def get(self, attr: str, default: Any = None) -> Any:
        """Return an attribute of this thread, or the default.

        :param attr: the name of the attribute.
        :param default: the value if this thread has no such attribute (default: None).
        """
        return getattr(self, attr, default) if self.has(attr) else default

    def has(self, attr: str) -> bool:
        """Return True if this thread has the attribute.

        :param attr: the name of the attribute.
        """
        return attr not in _METHODS and hasattr(self, attr)

    @ends_traceback
    def set(self, attr: str, value: Any) -> None:
        """Set an attribute of this thread.

        :param attr: the name of the attribute.
        :param value: any object.
        :raises InvalidArgumentError: (a ValueError) it is the name of a method.
        """
        setattr(self, attr, value)

    def clear(self, attr: str) -> bool | None:
        """Delete an attribute of this thread.

        Return True if there is none, and None otherwise, as in atasker.

        :param attr: the name of the attribute.
        """
        if not self.has(attr):
            return True
        delattr(self, attr)
        return None

    def __setattr__(self, attr: str, value: Any) -> None:
        if attr in _METHODS:
            raise InvalidArgumentError(f"{attr!r} is a method of the namespace; choose another "
                                       "name")
        super().__setattr__(attr, value)


_METHODS = frozenset(("get", "has", "set", "clear"))

#: The namespace of the application.
g: LocalProxy = LocalProxy()


@ends_tracebacks()
class Locker:
    """A lock with a timeout: a decorator and a context manager.

    Any thread may use it.

    If the time is up, that is logged, and :meth:`critical` is called. A decorated function then
    returns None without running, and a ``with`` statement raises a TimeoutError.

    :param mod: the owner of the lock, for the log (default: ``'main'``).
    :param timeout: seconds to wait for the lock (default: 5 s); None waits without limit, 0 does
        not wait.
    :param relative: True for a lock that its owner may take again (default: True).
    :raises InvalidTypeError: (a TypeError) the timeout is no number.
    :raises InvalidArgumentError: (a ValueError) the timeout is below 0.

    >>> with_lock = Locker('orders', timeout=2)
    >>> @with_lock
    ... def count():
    ...     with with_lock:
    ...         return 1
    >>> count()
    1
    """

    def __init__(self, mod: str = "main", timeout: Seconds | None = 5,
                 relative: bool = True) -> None:
        self.lock: threading.Lock | Any = RLock() if relative else threading.Lock()
        self.mod = mod
        self.relative = relative
        self.timeout = timeout

    @property
    def timeout(self) -> float | None:
        """The seconds to wait for the lock; None waits without limit. It may be assigned."""
        return self._timeout

    @timeout.setter
    def timeout(self, timeout: Seconds | None) -> None:
        if _modes.legacy and timeout == -1:     # of threading, which atasker passes it to
            timeout = None
        self._timeout = seconds_or_none("timeout of a Locker", timeout)

    def __call__(self, f: Function) -> Function:
        """Decorate a function: it runs with the lock held.

        If the lock is not free in time, it does not run and returns None.

        :raises InvalidTypeError: (a TypeError) not callable; or a coroutine function, whose body
            would run without the lock. Under ``exec`` and ``install()``, a warning is logged.
        """
        if not callable(f):
            raise InvalidTypeError(f"a Locker decorates functions, not {type(f).__name__}")
        if is_coroutine_function(f):
            refuse(f"{name_of(f)} is a coroutine function: its body would run without the lock, "
                   "and waiting for it would hold up the loop; use an asyncio.Lock")

        def locked(*args: Any, **kwargs: Any) -> Any:
            if not self._acquire():
                name = attribute_of(f, "__name__", str) or type(f).__name__
                self._timed_out(f"{self.mod}/{name}", "it does not run")
                return None
            try:
                return f(*args, **kwargs)
            finally:
                self.lock.release()

        copy_metadata(locked, f)
        return locked       # type: ignore[return-value]

    def __enter__(self) -> Locker:
        """Take the lock.

        :raises WaitTimeoutError: (a TimeoutError) the lock was not free in time. :meth:`critical`
            is called first.
        """
        if not self._acquire():
            self._timed_out(self.mod, "TimeoutError is raised")
            raise WaitTimeoutError(f"the lock of {self.mod} was not free within {self.timeout:g} "
                                   "s: find its holder (task_supervisor.dump() shows where tasks "
                                   "are), or raise the timeout")
        return self

    def __exit__(self, kind: type[BaseException] | None = None, error: BaseException | None = None,
                 traceback: TracebackType | None = None) -> None:
        self.lock.release()

    def critical(self) -> None:
        """Called if the lock was not free in time, in the thread that waited.

        For a subclass to override.
        """

    def _acquire(self) -> bool:
        timeout = self._timeout
        longest = -1 if timeout is None else min(timeout, threading.TIMEOUT_MAX)
        return bool(self.lock.acquire(True, longest))

    def _timed_out(self, where: str, outcome: str) -> None:
        log.critical("%s: the lock was not free within %s s, so %s; something holds it for too "
                     "long", where, self.timeout, outcome)
        self.critical()
