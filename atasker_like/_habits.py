"""Names and operators that other packages have, with errors that name the way of this one.

The meaning of ``task.get()`` is clear, so its error says what to use instead. For such names
``hasattr()`` is False, and ``dir()`` does not list them.
"""
from __future__ import annotations

import sys

from ._checks import cut_frames, ends_traceback, plain
from ._core_errors import InvalidTypeError
from ._generics import Generic, T_co
from ._inspect import attribute_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, NoReturn


class Absent:
    """A name that a class does not have, with the advice that reading it gives.

    Each name has an object of its own.

    :param advice: what to use instead.
    """

    __slots__ = ("_name", "_advice")

    def __init__(self, advice: str) -> None:
        self._advice = advice
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> NoReturn:
        kind = (type(instance) if owner is None else owner).__name__
        error = AttributeError(f"{kind} has no {self._name!r}: {self._advice}")
        if sys.version_info >= (3, 10):
            error.obj = instance        # else Python adds the nearest name of another meaning
        try:
            raise error
        except AttributeError:
            cut_frames(error)
            raise


def dir_without_absent(thing: Any) -> list[str]:
    """Replace ``__dir__``: leave out what is absent."""
    classes = type(thing).__mro__
    return [name for name in object.__dir__(thing)
            if not isinstance(next((vars(kind)[name] for kind in classes if name in vars(kind)),
                                   None), Absent)]


def _operator(symbol: str) -> Callable[..., NoReturn]:
    @ends_traceback
    def refuse(self: Any, *operands: Any) -> NoReturn:
        task = self.task
        raise InvalidTypeError(f"{symbol} takes the value of task {task.name} ({task.short_id}), "
                               f"and this {type(self).__name__} is not the value; read it with "
                               "value()")

    return refuse


class Handle(Generic[T_co]):
    """The base of tasks and of the handles of tasks, which are not the values of the tasks.

    ``task`` is the task.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        # For lists in which tasks and handles are mixed.
        def done(self) -> bool: ...

        def value(self) -> T_co: ...

    if not TYPE_CHECKING:
        __dir__ = dir_without_absent

        __add__ = __radd__ = _operator("+")
        __sub__ = __rsub__ = _operator("-")
        __mul__ = __rmul__ = _operator("*")
        __truediv__ = __rtruediv__ = _operator("/")
        __floordiv__ = __rfloordiv__ = _operator("//")
        __mod__ = __rmod__ = _operator("%")
        __pow__ = __rpow__ = _operator("**")
        __matmul__ = __rmatmul__ = _operator("@")
        __and__ = __rand__ = _operator("&")
        __or__ = __ror__ = _operator("|")
        __xor__ = __rxor__ = _operator("^")
        # Iteration and "in" use it as well.
        __getitem__ = _operator("an index or an iteration")

        # Of concurrent.futures.Future, multiprocessing.pool.AsyncResult and threading.Thread.
        set_result = Absent("the function of the task gives the result, by 'return'")
        set_exception = Absent("the function of the task gives the error, by 'raise'")
        get = Absent("use value(), which returns the value of the function or raises its error")
        join = Absent("use wait()")
        is_alive = Absent("use not done()")
        ready = Absent("use done()")
        running = Absent("compare the word of its state with 'running'")
        successful = Absent("compare the word of its state with 'succeeded'")
        _condition = Absent(
            "concurrent.futures waits for its own futures only; use wait_completed() or "
            "as_completed() of this package, or submit with task_supervisor.thread_pool.submit()")


class NoExecutor:
    """The base of a supervisor, which is not an executor of :mod:`concurrent.futures`."""

    __slots__ = ()

    if not TYPE_CHECKING:
        __dir__ = dir_without_absent

        submit = Absent("use put_task() or @background_task, which make tasks, or "
                        "thread_pool.submit(), which returns a Future")
        map = Absent("use background_task(f).map(items), or tmap(), pmap() or amap()")
        shutdown = Absent("use stop()")


def check_callback(callback: Any) -> None:
    """Check the argument of ``add_done_callback``.

    :raises InvalidTypeError: it is not callable, is a coroutine function, or belongs to
        :func:`asyncio.wait`, which would wait without end: callbacks are called in another thread
        than that of its loop.
    """
    plain("add_done_callback", callback,
          "await the task in a coroutine, or have a plain function submit a task")
    if attribute_of(callback, "__module__", str) == "asyncio.tasks":
        raise InvalidTypeError("asyncio.wait() takes futures of its own loop, not tasks: use "
                               "co_wait_completed() or as_completed() of this package, or wrap "
                               "each task with asyncio.ensure_future()")
