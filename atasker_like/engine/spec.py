"""TaskSpec, shared by all calls of a function, and Decorated, a base class."""
from __future__ import annotations

from types import MethodType

from .._inspect import address_of, attribute_of, copy_metadata, lookup, name_of
from ..constants import Priority, TaskType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Protocol, Sequence, TypeVar

    D = TypeVar("D", bound="Decorated")

    from ..options import TaskOptions

    class TaskOwner(Protocol):
        """The part of the pool's interface that its tasks use."""

        lock: Any
        parking: Any

        def is_reentrant(self) -> bool: ...
        def defer_to_thread(self, call: Callable[..., Any], *arguments: Any) -> None: ...

        def start(self, spec: TaskSpec, args: tuple[Any, ...],
                  kwargs: dict[str, Any] | None) -> Any: ...

        def start_many(self, spec: TaskSpec, calls: list[tuple[Any, ...]],
                       first: int | None = None) -> list[Any]: ...

        def submit(self, task: Any) -> None: ...
        def task_id(self, task: Any) -> str: ...
        def cancel(self, task: Any, begun: bool = True) -> bool: ...
        def cancel_many(self, tasks: Sequence[Any]) -> int: ...
        def abandon(self, task: Any) -> None: ...
        def complete_early(self, task: Any) -> bool: ...
        def report(self, task: Any, progress: Any) -> None: ...
        def loop_of(self, task: Any) -> Any: ...
        def asyncio_task_of(self, task: Any) -> Any: ...

    class Callbacks(Protocol):
        """The interface that waits for done callbacks: :class:`WaitGroup`."""

        def add(self, call: Any) -> None: ...
        def make(self, call: Any, function: Callable[..., Any], *arguments: Any) -> None: ...


class AnnouncedFunction:
    """A function with a second one that is called before it, in the same thread."""

    __slots__ = ("function", "_before")

    def __init__(self, function: Callable[..., Any], before: Callable[[], None]) -> None:
        self.function: Callable[..., Any] = function
        self._before = before

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        self._before()
        return self.function(*args, **kwargs)


class TaskSpec:
    """The attributes that all calls of one function share; each task refers to it."""

    __slots__ = ("pool", "target", "name", "priority", "options", "tt", "callback", "loop",
                 "worker", "takes_id", "lane", "lane_order", "hooks", "fast_submit", "fast_finish",
                 "direct", "shares_context", "compact_entry", "timeout", "expected_runtime",
                 "pickled_target", "ends_early", "keeps_items", "unpacks_items",
                 "reports_errors")

    def __init__(self, pool: TaskOwner, target: Callable[..., Any], options: TaskOptions,
                 tt: TaskType = TaskType.THREAD, callback: Callable[[Any], Any] | None = None,
                 loop: Any = None, worker: Any = None, takes_id: bool = False, lane: Any = None,
                 rank: int | None = None, hooks: Any = None) -> None:
        self.pool: TaskOwner = pool
        self.target: Callable[..., Any] = target
        self.options: TaskOptions = options
        self.priority: int = int(Priority.NORMAL) if options.priority is None else options.priority
        self.name: str = options.name or name_of(target)
        self.tt: TaskType = tt
        self.callback: Callable[[Any], Any] | None = callback
        self.loop: Any = loop
        self.worker: Any = worker
        self.takes_id: bool = takes_id
        self.timeout: float | None = options.timeout
        self.lane: Any = lane
        #: The order within the lane, lower first.
        self.lane_order: int = self.priority if rank is None else rank
        #: Has started(task), retried(task, error) and ended(task). A pool thread makes these calls
        #: in order, one at a time. before_end(task, outcome) is optional: it is called with no lock
        #: held before a task ends by itself.
        self.hooks: Any = hooks
        #: True if no option needs work at the end of a task, so that the pools use their fast path.
        self.fast_finish: bool = callback is None and hooks is None and not (
            options.timeout or options.retries or options.delay or options.run_at is not None)
        #: True if submissions, too, use the fast path.
        self.fast_submit: bool = self.fast_finish and lane is None
        #: True if a task may start when it is submitted.
        self.direct: bool = not options.delay and options.run_at is None
        #: True if other tasks or attempts may share the task's context. Each attempt runs in a copy
        #: then.
        self.shares_context: bool = lane is not None or bool(options.retries)
        #: True if a pool process needs only the function and its arguments.
        self.compact_entry: bool = not (takes_id or options.name is not None or options.retries)
        #: True if the application may complete a task with mark_task_completed().
        self.ends_early: bool = False
        #: True if the error of a failed task shows the arguments of the call, as for ``map``.
        self.keeps_items: bool = False
        #: True if several arguments of such a call may be one item, a tuple, by mistake.
        self.unpacks_items: bool = False
        #: True if the target reports its errors to the queue of its tasks.
        self.reports_errors: bool = False
        # For the process pool: the expected seconds of a run (guarded by that pool's lock) and the
        # pickled target.
        self.expected_runtime: float | None = None
        self.pickled_target: bytes | None = None

    def for_pool(self, pool: TaskOwner) -> TaskSpec:
        """Return a spec of the same function for another pool."""
        from copy import copy

        own = copy(self)
        own.pool = pool
        own.expected_runtime = own.pickled_target = None
        return own

    def note_runtime(self, seconds: float) -> None:
        """Count a run in the expected run time. The newest run has a quarter of the weight."""
        expected = self.expected_runtime
        self.expected_runtime = (
            seconds if expected is None else expected + (seconds - expected) / 4)

    def way_out(self, status: int, otherwise: str) -> str:
        """Return what a task with a status needs that waits in a paused lane, or other advice."""
        if status == 0 and self.lane is not None and self.lane.paused:
            return self.lane.advice_on_pause() or otherwise
        return otherwise

    @property
    def function(self) -> Callable[..., Any]:
        """The function of the application."""
        target = self.target
        while issubclass(type(target), AnnouncedFunction):      # isinstance() reads an attribute
            target = target.function    # type: ignore[attr-defined]
        return target


class Decorated:
    """A function with a decorator of this package.

    The package recognises decorated functions by this class, never by an attribute. The object has
    the attributes of its function, but none of them hides an attribute of the class. It is copied
    as a function is: a copy is the same object, and a deep copy of a bound method belongs to the
    copied object. A pickle holds the name under which the other process finds the same decorated
    function, and the differences from that one.
    """

    __slots__ = ("_function", "__dict__", "__weakref__")

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        copy_metadata(self, function)

    def __get__(self: D, instance: Any, owner: Any = None) -> D:
        bind = attribute_of(type(self._function), "__get__", object)
        return (self if bind is None or instance is None
                else self._with(bind(self._function, instance, owner)))

    def __copy__(self: D) -> D:
        return self

    def __deepcopy__(self: D, memo: dict[int, Any]) -> D:
        from copy import deepcopy

        function = deepcopy(self._function, memo)
        return self if function is self._function else self._with(function)

    def __reduce__(self) -> tuple[Any, ...]:
        found, reference = self._find()
        if found is None:
            return self._parts()
        changes = self._changes_to(found)
        return (_changed, (found, changes)) if changes else reference

    def _find(self: D) -> tuple[D | None, tuple[Any, ...]]:
        # Return the object at the address of the function and a call that finds it, if the object
        # is the same function with the same kind of decorator. Return None and no call otherwise.
        function = self._function
        if type(function) is MethodType:
            reference: tuple[Any, ...] = getattr, (function.__self__, function.__func__.__name__)
        else:
            address = address_of(function)
            if address is None or not address[2]:
                return None, ()
            reference = lookup, (*address[:2], address[2] - 1)
        try:
            found = reference[0](*reference[1])
        except Exception:
            return None, ()
        if type(found) is not type(self) or found._function != function:
            return None, ()
        return found, reference

    def _with(self: D, function: Callable[..., Any]) -> D:
        """Return ``function`` with the same decoration."""
        raise NotImplementedError

    def _changes_to(self: D, found: D) -> dict[str, Any]:
        """Return the changes that make ``found`` equal to this, for _changed()."""
        raise NotImplementedError

    def _changed(self: D, changes: dict[str, Any]) -> D:
        raise NotImplementedError

    def _parts(self) -> tuple[Any, ...]:
        """Return a reduced value that needs no name, or raise a TaskPicklingError."""
        from ..errors import TaskPicklingError

        raise TaskPicklingError(f"{self!r} cannot be pickled: its function is not found under its "
                                "name; define it at the top level of a module, with this decorator")


class ClassTask(Decorated):
    """A class method whose calls are tasks.

    A classmethod around a decorated function would bind calls, but not ``options``.
    """

    __slots__ = ("_task",)

    def __init__(self, task: Decorated) -> None:
        super().__init__(task._function)
        self._task = task

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self._task.__get__(type(instance) if owner is None else owner)


def _changed(found: Decorated, changes: dict[str, Any]) -> Decorated:
    return found._changed(changes)


def undecorated(function: Any) -> Any:
    """Return the function inside of a decorated one; any other object unchanged."""
    while issubclass(type(function), Decorated):
        function = function._function
    return function
