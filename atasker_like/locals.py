"""What belongs to one thread, and locks that do not wait for ever."""
from __future__ import annotations

import threading

from ._checks import seconds_or_none
from ._inspect import attribute_of, is_coroutine_function, look_like, name_of
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
    """A namespace that each thread has one of: ``g.user = 'me'`` is seen by this thread only.

    It belongs to the *thread*. A pool thread keeps it from one task to the next, so what a task sets it should clear;
    all coroutines of one loop see the same, that of the loop's thread; a pool process has its own. What is to follow
    a task to wherever it runs belongs in a :class:`contextvars.ContextVar`: tasks in threads and loops run in the
    context of their submitter.

    Any attribute may be set, but for the names of the methods.

    >>> g.answer = 42
    >>> g.get('answer'), g.get('question', 'none'), g.has('question')
    (42, 'none', False)
    >>> g.clear('answer')
    >>> g.has('answer')
    False
    """

    def get(self, attr: str, default: Any = None) -> Any:
        """Return an attribute of this thread's, or the default when there is none."""
        return getattr(self, attr, default) if self.has(attr) else default

    def has(self, attr: str) -> bool:
        """Say whether this thread has an attribute."""
        return attr not in _METHODS and hasattr(self, attr)

    def set(self, attr: str, value: Any) -> None:
        """Set an attribute of this thread's.

        :raises InvalidArgumentError: (a ValueError) it is the name of a method.
        """
        setattr(self, attr, value)

    def clear(self, attr: str) -> bool | None:
        """Delete an attribute of this thread. Return True if there is none, and None otherwise, as in atasker."""
        return delattr(self, attr) if self.has(attr) else True      # type: ignore[func-returns-value]

    def __setattr__(self, attr: str, value: Any) -> None:
        if attr in _METHODS:
            raise InvalidArgumentError(f"{attr!r} is a method of the namespace; choose another name")
        super().__setattr__(attr, value)


_METHODS = frozenset(("get", "has", "set", "clear"))

#: The namespace of the application.
g = LocalProxy()


class Locker:
    """A lock that is not waited for for ever: a decorator and a context manager.

    :param mod: what the lock belongs to; named in the log.
    :param timeout: seconds to wait for the lock; None waits for ever, 0 not at all.
    :param relative: True for a lock that its thread may take again; False for one that it may not.
    :raises InvalidTypeError: (a TypeError) the timeout is no number.
    :raises InvalidArgumentError: (a ValueError) the timeout is below 0.

    When the time is over, that is logged and :meth:`critical` is called, which an application overrides: to end
    itself, say. Then a decorated function returns None without having run, and a ``with`` raises a TimeoutError.
    May be used from any thread.

    >>> with_lock = Locker('orders', timeout=2)
    >>> @with_lock
    ... def count():
    ...     with with_lock:
    ...         return 1
    >>> count()
    1
    """

    def __init__(self, mod: str = "main", timeout: Seconds | None = 5, relative: bool = True) -> None:
        self.lock: threading.Lock | Any = threading.RLock() if relative else threading.Lock()
        self.mod = mod
        self.relative = relative
        self.timeout = timeout

    @property
    def timeout(self) -> float | None:
        """Seconds to wait for the lock; None waits without limit. An application may change it."""
        return self._timeout

    @timeout.setter
    def timeout(self, timeout: Seconds | None) -> None:
        self._timeout = seconds_or_none("timeout of a Locker", timeout)

    def __call__(self, f: Function) -> Function:
        """Decorate a function: it runs with the lock held, or not at all, and returns None then.

        :raises InvalidTypeError: (a TypeError) not callable; or a coroutine function, which would run when the lock
            has been released.
        """
        if not callable(f):
            raise InvalidTypeError(f"a Locker decorates functions, not {type(f).__name__}")
        if is_coroutine_function(f):
            raise InvalidTypeError(f"{name_of(f)} is a coroutine function: its body would run without the "
                                   "lock, and waiting for it would hold up the loop; use an asyncio.Lock")

        def locked(*args: Any, **kwargs: Any) -> Any:
            if not self._acquire():
                self._timed_out(f"{self.mod}/{attribute_of(f, '__name__', str) or type(f).__name__}", "it does not run")
                return None
            try:
                return f(*args, **kwargs)
            finally:
                self.lock.release()

        look_like(locked, f)
        return locked       # type: ignore[return-value]

    def __enter__(self) -> Locker:
        """Take the lock.

        :raises WaitTimeoutError: (a TimeoutError) it was not free in time; after :meth:`critical`.
        """
        if not self._acquire():
            self._timed_out(self.mod, "TimeoutError is raised")
            raise WaitTimeoutError(f"the lock of {self.mod} was not free within {self.timeout:g} s: look for who holds it "
                                   "(task_supervisor.dump() shows where tasks are), or raise the timeout")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.lock.release()

    def critical(self) -> None:
        """Called when the lock was not free in time, in the thread that waited. To be overridden."""

    def _acquire(self) -> bool:
        timeout = self._timeout
        return bool(self.lock.acquire(True, -1 if timeout is None else min(timeout, threading.TIMEOUT_MAX)))

    def _timed_out(self, who: str, what: str) -> None:
        log.critical("%s: the lock was not free within %s s, so %s; something holds it for too long", who, self.timeout,
                     what)
        self.critical()
