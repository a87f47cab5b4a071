"""The arguments of waits: a task, several tasks, and what stands for tasks."""
from __future__ import annotations

from collections.abc import Coroutine, Mapping
from operator import itemgetter

from ._checks import a_kind
from ._core_errors import InvalidTypeError
from ._generics import Generic, T_co
from ._inspect import has_method, shown
from .engine.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


class TaskView(Generic[T_co]):
    """The base of objects that stand for a task, such as the handle of a queue."""

    __slots__ = ("task",)

    if TYPE_CHECKING:
        #: The task that this is a view of.
        task: Task[T_co]


class TaskViews(Generic[T_co]):
    """The base of objects that stand for several tasks, such as a group of a queue."""

    if TYPE_CHECKING:
        handles: tuple[T_co, ...]


def _as_task(thing: Any, function: str, where: str) -> Task[Any]:
    kind = type(thing)
    if issubclass(kind, Task):
        return thing        # type: ignore[no-any-return]
    if issubclass(kind, TaskView):
        return thing.task   # type: ignore[no-any-return]
    advice = "; pass values() of the mapping" if where.startswith("key ") else _advice(thing)
    raise InvalidTypeError(f"{_takes(function)}, but {where} is {a_kind(thing)}{advice}")


def as_tasks(tasks: Any, function: str, keys: bool = False) -> list[Task[Any]]:
    """Return the tasks that an iterable yields.

    :param keys: True if they are the keys of a mapping.
    """
    if isinstance(tasks, (str, bytes)) or not has_method(tasks, "__iter__"):
        raise refusal(tasks, function)
    where = "key" if keys else "item"
    return [thing if type(thing) is Task else _as_task(thing, function, f"{where} {position}")
            for position, thing in enumerate(tasks)]


def _takes(function: str) -> str:
    if function.endswith("as_completed"):
        return f"{function} takes an iterable of tasks"
    return f"{function} takes a task, an iterable of tasks or a mapping with tasks as its values"


def refusal(thing: Any, function: str) -> InvalidTypeError:
    if _is_single(thing):
        return InvalidTypeError(f"{_takes(function)}, not a single one; put it into a list")
    return InvalidTypeError(f"{_takes(function)}, not {a_kind(thing)}{_advice(thing)}")


def _advice(thing: Any) -> str:
    """Return what to do about an object that is not a task."""
    if isinstance(thing, (str, bytes)):
        return "; task_supervisor.get_task() returns the live task of an id"
    if callable(thing):
        return "; call the function first, then wait for what it returns"
    if isinstance(thing, Coroutine):
        thing.close()           # else Python warns that it was never awaited
        return "; await it, or decorate its function with @background_task"
    if has_method(thing, "add_done_callback"):
        return "; make a task with @background_task, or use the wait() of its own module"
    if has_method(thing, "__iter__"):
        return "; flatten it, or wait for each of its tasks"
    return ""


def find_tasks(tasks: Any, function: str) -> tuple[list[Task[Any]], Callable[[list[Any]], Any]]:
    """Return the tasks, and a function that puts their values into the form of the argument."""
    if type(tasks) is Task:         # the most common argument
        return [tasks], _first
    if _is_single(tasks):
        return [_as_task(tasks, function, "it")], _first
    if isinstance(tasks, Mapping) and not _is_single(next(iter(tasks), None)):
        keys = list(tasks)
        pending = [_as_task(tasks[key], function, f"the value of {shown(key)}") for key in keys]
        return pending, lambda values: dict(zip(keys, values))
    return as_tasks(tasks, function), lambda values: values


_first = itemgetter(0)


def _is_single(tasks: Any) -> bool:
    return issubclass(type(tasks), (Task, TaskView))
