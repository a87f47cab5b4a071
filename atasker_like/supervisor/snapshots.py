"""Dicts of tasks, loops and schedulers whose pickles hold plain copies.

In the program itself, ``get_info()``, ``get_tasks()``, ``get_schedulers()`` and ``get_aloops()``
give the objects. A pickle of such an answer holds a plain copy of each object, with its attributes
as texts, numbers and names. So a program that watches another one needs neither this package nor a
module of the other program.
"""
from __future__ import annotations

from types import SimpleNamespace

from .._inspect import is_coroutine_function
from ..constants import TT_COROUTINE, TT_MP, TT_THREAD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict

    from ..engine.task import Task
    from ..jobs import AsyncJobScheduler
    from ..loops import ALoop

    Answer = Dict[Any, Any]
else:
    Answer = dict


class _Pickled(Answer):
    """A dict of objects whose pickle is a dict of plain copies."""

    @staticmethod
    def _plain(key: Any, value: Any) -> tuple[Any, SimpleNamespace]:
        raise NotImplementedError

    def __reduce_ex__(self, protocol: Any) -> tuple[type[dict[Any, Any]], tuple[dict[Any, Any]]]:
        copies: dict[Any, Any] = {}
        for key, value in list(self.items()):
            name, plain = self._plain(key, value)
            number = 1
            while name in copies:           # two workers of one name
                number += 1
                name = f"{plain.name} ({number})"
            copies[name] = plain
        return dict, (copies,)

    def __copy__(self) -> Answer:
        return self.copy()


class TasksById(_Pickled):
    """The tasks by id that ``get_tasks()`` returns.

    Each copy has the attributes of a task, with ``target`` as a text, and ``worker`` and
    ``worker_class`` as names.
    """

    @staticmethod
    def _plain(key: str, value: Task[Any]) -> tuple[str, SimpleNamespace]:
        task, worker = value, value.worker
        return key, SimpleNamespace(
            id=key, name=task.name, tt=int(task.tt), priority=int(task.priority),
            status=int(task.status), state=task.state, target=_text(task.target), delay=task.delay,
            attempts=task.attempts,
            progress=None if task.progress is None else tuple(task.progress),
            time_queued=task.time_queued, time_started=task.time_started,
            worker=None if worker is None else _name(worker),
            worker_class=None if worker is None else class_name(worker))


class AloopsByName(_Pickled):
    """The loops by name that ``get_aloops()`` returns.

    Each copy has ``name``, ``active`` and the name of its ``thread``.
    """

    @staticmethod
    def _plain(key: str, value: ALoop) -> tuple[str, SimpleNamespace]:
        thread = value.thread
        return key, SimpleNamespace(name=key, active=value.is_active(),
                                    thread=None if thread is None else thread.name)


class JobSchedulersByName(_Pickled):
    """Schedulers of async jobs by name.

    Each copy has ``name``, ``active`` and the number of ``jobs``.
    """

    @staticmethod
    def _plain(key: str, value: AsyncJobScheduler) -> tuple[str, SimpleNamespace]:
        return key, SimpleNamespace(name=key, active=value.active, jobs=len(value.jobs()))


class SchedulersByName(_Pickled):
    """The workers and schedulers that ``get_schedulers()`` returns; their copies are found by name.

    A copy has ``name``, ``class_name``, ``active``, ``priority``; ``delay`` (seconds),
    ``keep_interval`` and ``delay_before`` of an interval worker; ``executor``, the kind of task
    that runs its function; ``loop``, the name of its aloop, or the class of another loop. An
    attribute that a scheduler does not have is None.
    """

    @staticmethod
    def _plain(key: Any, value: Any) -> tuple[str, SimpleNamespace]:
        name = _name(key)
        return name, SimpleNamespace(
            name=name, class_name=class_name(key), active=_answer(lambda: bool(key.is_active())),
            priority=_answer(lambda: int(key.priority)), delay=_answer(lambda: _seconds(key.delay)),
            keep_interval=_answer(lambda: bool(key.keep_interval)),
            delay_before=_answer(lambda: _seconds(key.delay_before)),
            executor=_answer(lambda: _executor(key)), loop=_answer(lambda: _loop(key)))


def class_name(thing: Any) -> str:
    """Return the name of an object's class; with its module, if it is of another package."""
    kind = type(thing)
    module = getattr(kind, "__module__", None)
    own = (not isinstance(module, str)
           or module.partition(".")[0] in ("atasker", __name__.partition(".")[0]))
    return kind.__qualname__ if own else f"{module}.{kind.__qualname__}"


def _answer(question: Callable[[], Any]) -> Any:
    """Return an answer; None if it raises: the object may be of any class of the application."""
    try:
        return question()
    except Exception:
        return None


def _text(thing: Any) -> str | None:
    return _answer(lambda: "".join((str(thing), "")))     # type: ignore[no-any-return]


def _name(thing: Any) -> str:
    name = _answer(lambda: thing.name)
    return name if type(name) is str else class_name(thing)


def _seconds(value: Any) -> float | None:
    return value if value is None or type(value) in (int, float) else float(value)


def _executor(worker: Any) -> int:
    if is_coroutine_function(worker.run):
        return int(TT_COROUTINE)
    return int(TT_MP if getattr(worker, "_run_in_mp", False) else TT_THREAD)


def _loop(worker: Any) -> str | None:
    aloop = worker.aloop
    if aloop is not None:
        return str(aloop.name)
    loop = worker.executor_loop
    return None if loop is None else type(loop).__name__
