"""TaskResult, the frozen outcome of a task, and Failure, an error to be seen."""
from __future__ import annotations

import os
import sys
from atexit import register
from weakref import ref

from .._atomics import RLock
from .._checks import ends_traceback
from .._core_errors import TaskCancelledError
from .._generics import Generic, T_co
from .._habits import Absent, dir_without_absent
from .._ids import short_id
from .._inspect import class_name, described, is_interrupt, shown, traceback_of
from .._log import log
from .._patched import made_anew

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Mapping


def without_first(traceback: Any) -> Any:
    """Return the traceback without the pool's own frame, which would keep the task alive."""
    return (traceback.tb_next if traceback is not None and traceback.tb_next is not None
            else traceback)


def with_traceback(error: BaseException, traceback: Any) -> BaseException:
    """Set an error's traceback, even if its class refuses assignments (e.g. frozen)."""
    return BaseException.with_traceback(error, traceback)


def with_cause(error: BaseException, cause: BaseException) -> BaseException:
    """Set an error's cause, even if its class refuses assignments."""
    BaseException.__cause__.__set__(error, cause)       # type: ignore[union-attr]
    return error


_notes_lock = made_anew(lambda: RLock())        # guards the notes of errors


class Failure:
    """The error of a failed task, with a mark if application code has seen it.

    An unseen error is logged when the failure is deleted or when the interpreter exits. So no error
    is silent. The failure is an object apart from the task, so that tasks that succeed do not bear
    the cost.
    """

    __slots__ = ("error", "traceback", "name", "id", "seen", "index", "unpacked", "_call", "_item",
                 "_described", "__weakref__")

    def __init__(self, error: BaseException, name: str, task_id: str, index: int | None = None,
                 call: tuple[tuple[Any, ...], Mapping[str, Any] | None] | None = None,
                 unpacked: bool = False) -> None:
        self.error: BaseException = error
        #: For a task of a map: its position. _call holds its arguments until item is first read.
        self.index: int | None = index
        self._call = call
        #: The item was a tuple, which map() of a queue has passed as several positional arguments.
        self.unpacked: bool = unpacked
        self._item: str | None = None
        self._described = False
        self.traceback: TracebackType | None = traceback_of(error)
        self.name: str = name
        self.id: str = task_id
        self.seen: bool = False
        _failures[id(self)] = _last_of_task[task_id] = ref(self)
        if not _armed:
            _arm()

    @property
    def item(self) -> str | None:
        """The arguments of the call as a bounded text; None if they are not kept."""
        call = self._call
        if call is not None:
            self._item = _item_of(*call)
            self._call = None
        return self._item

    def see(self) -> BaseException:
        """Return the error for the application, with its notes, and mark it as seen. (no lock)"""
        # A waiter that finds the task at its end may be here before the thread that ended it.
        self.describe()
        self.seen = True
        return self.error

    def describe(self) -> None:
        """Add notes to an ended task's error: its map item, and what to do. (no lock)"""
        if self._described:
            return
        item = self.item
        if hasattr(BaseException, "add_note"):
            called = f"{self.name} ({short_id(self.id)})"
            advice = self._advice()
            with _notes_lock:
                if self.index is not None:
                    self._add_note("item ", f"{item_text(self.index, item)} of {called}")
                if advice is not None:
                    self._add_note("task ", f"task {called} did not begin; {advice}")
        self._described = True

    def _add_note(self, beginning: str, note: str) -> None:
        try:
            # Add one note only, if a function raises the same error for many items. The error's own
            # attributes may raise.
            if not _begin_with(beginning, getattr(self.error, "__notes__", ())):
                self.error.add_note(note)
        except BaseException as raised:     # its class refuses assignments, or questions
            if is_interrupt(raised):
                raise

    @property
    def message(self) -> str:
        """The type and the text of the error, and what to do if it is known."""
        advice = self._advice()
        text = described(self.error)
        return text if advice is None else f"{text}; {advice}"

    def _advice(self) -> str | None:
        """Return advice on an error that Python raises for a call with wrong arguments."""
        error, trace = self.error, self.traceback
        # With a second frame, the function has begun, and raised the error itself.
        if (type(error) is not TypeError or trace is not None and trace.tb_next is not None
                or not _is_signature_error(described(error), self.name)):
            return None
        if self.unpacked:
            return "map() passes a tuple as positional arguments: wrap it, as in ((1, 2),)"
        return "submit it with the arguments that its function takes"

    def reraise(self) -> None:
        """Raise the error with the traceback that it had when the task ended."""
        if not self.seen and issubclass(type(self.error), SystemExit):
            log.warning(_EXIT, self.name, short_id(self.id), self.error)
        try:
            # Without with_traceback every waiter would add its own frames for the next one to see.
            raise with_traceback(self.see(), self.traceback)
        finally:
            del self   # the traceback holds this frame: no cycle through it

    def log_if_unseen(self) -> None:
        """Log the error if it is unseen, and mark it as seen."""
        if not self.seen:
            self.seen = True
            log.error_in_finalizer(_UNSEEN, self.name, short_id(self.id),
                                   exc_info=(type(self.error), self.error, self.traceback))

    def __del__(self) -> None:
        reference = _failures.pop(id(self), None)
        if reference is not None and _last_of_task.get(self.id) is reference:
            _last_of_task.pop(self.id, None)
        if self.seen:
            return
        try:
            if not sys.is_finalizing():
                self.log_if_unseen()
            elif sys.stderr is not None:
                # The failure came after log_unseen(): logging is shut down, its handlers are
                # closed.
                sys.stderr.write(f"{_UNSEEN % (self.name, short_id(self.id))}: "
                                 f"{class_name(type(self.error))}: {shown(self.error)}\n")
        except Exception:   # there is nowhere left to report it
            pass


def _begin_with(beginning: str, notes: Any) -> bool:
    return any(str(note).startswith(beginning) for note in notes)


def _is_signature_error(text: str, name: str) -> bool:
    """Return True for the text of an error that Python raises for a call with wrong arguments."""
    from re import search

    return (f"{name.rpartition('.')[2]}() " in text and bool(search(
        r"positional argument|keyword argument|keyword-only argument|multiple values", text)))


def item_text(index: int, item: str | None) -> str:
    """Return ``item 3: 'name'``, or ``item 3`` if the item is not kept."""
    return f"item {index}" if item is None else f"item {index}: {item}"


def _item_of(args: tuple[Any, ...], kwargs: Mapping[str, Any] | None) -> str:
    """Return a bounded text of a call's arguments, which were an item of a map."""
    from reprlib import Repr

    short = Repr()
    short.maxstring = short.maxother = 80
    item = kwargs if kwargs and not args else args[0] if len(args) == 1 and not kwargs else args
    try:
        text = "".join((short.repr(item), ""))
    # reprlib handles a __repr__ that raises, not one that returns no str
    except Exception:
        text = f"<{class_name(type(item))}>"
    return text if len(text) <= 200 else text[:197] + "..."


_EXIT = ("task %s (%s) called sys.exit(%s), and the code that reads its result gets that "
         "SystemExit. It ends the program unless it is caught; a task reports a failure with any "
         "other error")

_UNSEEN = ("task %s (%s) failed and nobody looked at its error; use task.value(), "
           "task.exception(), retries or a callback to handle it")

#: The existing failures, by their ids. Shared without a lock: setting an entry and removing it are
#: each one step, on a free-threaded build too, and a finalizer may do either at any line.
_failures: dict[int, ref[Failure]] = {}
#: The last of them of each task, by its id. Applications may choose one id for several tasks.
_last_of_task: dict[str, ref[Failure]] = {}
_armed = False


def _arm() -> None:
    # Log unseen failures at the exit: before logging is shut down, and after all threads of the
    # application have ended, which may see them. Register at the first failure, not earlier: an
    # application may shut its log down in exit functions of its own, and the function registered
    # last is called first.
    global _armed
    _armed = True       # two threads at once register it twice, which does no harm
    register(log_unseen)


def log_unseen() -> None:
    """Log all unseen errors. Called when the process is about to exit."""
    for reference in list(_failures.values()):
        failure = reference()
        if failure is not None:
            failure.log_if_unseen()


def see_failure(task_id: str) -> None:
    """Mark the error of a task as seen, if the task of this id has failed in this process.

    The error in a store is another object: code that raises it calls this.
    """
    reference = _last_of_task.get(task_id)
    failure = None if reference is None else reference()
    if failure is not None:
        failure.seen = True


def _after_fork() -> None:
    global _notes_lock
    _notes_lock = RLock()
    # In a forked process, drop the failures: the parent logs them.
    for reference in list(_failures.values()):
        failure = reference()
        if failure is not None:
            failure.seen = True
    _failures.clear()
    _last_of_task.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class TaskResult(Generic[T_co]):
    """The outcome of a task, frozen.

    ``status`` is ``succeeded``, ``failed`` or ``cancelled``. ``created_at``, ``started_at``,
    ``finished_at`` and ``scheduled_for`` are :func:`time.perf_counter` readings. ``duration`` is
    the time from start to end in seconds (0.0 for a task that never ran). ``index`` is the position
    of a task among those that a ``map`` or ``group`` submitted. ``item`` is a text of limited
    length of its item, if the call failed. Else both are None.

    It does not change, and any thread may use it.

    >>> result = background_task(pow)(2, 3).wait()
    >>> result.status, result.unwrap(), result.attempts
    ('succeeded', 8, 1)
    """

    __slots__ = ("task_id", "name", "status", "value", "exception", "attempts", "priority",
                 "must_complete", "group_id", "detached", "scheduled_for", "metadata", "created_at",
                 "started_at", "finished_at", "duration", "message", "index", "item")

    if TYPE_CHECKING:
        task_id: str
        name: str
        status: str
        value: T_co | None
        exception: BaseException | None
        attempts: int
        priority: int
        must_complete: bool
        group_id: Any
        detached: bool
        scheduled_for: float | None
        metadata: Any
        created_at: float
        started_at: float | None
        finished_at: float
        duration: float
        message: str
        index: int | None
        item: str | None

    def __init__(self, task_id: str, name: str, status: str, value: T_co | None = None,
                 exception: BaseException | None = None, attempts: int = 0, priority: int = 0,
                 must_complete: bool = False, group_id: Any = None, detached: bool = False,
                 scheduled_for: float | None = None, metadata: Any = None, created_at: float = 0.0,
                 started_at: float | None = None, finished_at: float = 0.0, duration: float = 0.0,
                 message: str = "", index: int | None = None, item: str | None = None) -> None:
        fields = locals()
        for field in self.__slots__:
            object.__setattr__(self, field, fields[field])

    if not TYPE_CHECKING:
        __dir__ = dir_without_absent

        result = Absent("read value, or use unwrap(), which raises the error of a failed task")
        done = Absent("a TaskResult is the outcome of a task that has ended")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a TaskResult does not change")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a TaskResult does not change")

    @property
    def short_id(self) -> str:
        """The short form of the id for messages and screens, such as ``t-17``."""
        return short_id(self.task_id)

    @property
    def called(self) -> str:
        """The name, the short id and the item, if any, for messages."""
        item = "" if self.index is None else f", {item_text(self.index, self.item)}"
        return f"{self.name} ({self.short_id}){item}"

    @property
    def ok(self) -> bool:
        """True if the task succeeded."""
        return self.status == "succeeded"

    @ends_traceback
    def unwrap(self) -> T_co:
        """Return the value. Raise the task's error if it failed, or TaskCancelledError.

        :raises TaskCancelledError: (a CancelledError) the task was cancelled.
        """
        if self.exception is not None:
            raise self.exception
        if self.status == "cancelled":
            raise TaskCancelledError(f"task {self.name} ({self.short_id}) was cancelled")
        return self.value       # type: ignore[return-value]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TaskResult):
            return NotImplemented
        # Lists compare identical members as equal, without a call of a member's __eq__.
        mine, theirs = ([getattr(one, name) for name in self.__slots__] for one in (self, other))
        return mine == theirs

    def __repr__(self) -> str:
        outcome = (f"value={shown(self.value)}" if self.exception is None
                   else f"exception={shown(self.exception)}")
        return f"<TaskResult {self.name} {self.status} {outcome}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, ({name: getattr(self, name) for name in self.__slots__},))


def _rebuild(fields: Mapping[str, Any]) -> TaskResult[Any]:
    return TaskResult(**fields)
