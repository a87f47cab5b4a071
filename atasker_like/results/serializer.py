"""Serializer: converts results to text and back.

The text of a task is one JSON object: its ``state``, and one of

* ``result``: the value;
* ``pickle``: the value or the error, pickled and in base64, if the backend uses pickles;
* ``repr``: the repr of a value that could not be stored, and in ``why`` the reason;
* ``error``: module, name and message of an exception, and its arguments if JSON can hold them;
  beside it ``traceback``.

The description of the task stands between them, each part if it is known: ``name``, ``attempts``,
``times``, ``progress``; the arguments as ``args`` and ``kwargs``, or as a pickle in ``call``. The
text of a task that has not ended has in ``at`` the address where its process takes requests.
``times`` are integers, in microseconds: from the epoch to the submission, and from there to the
start and to the end. Python writes integers in half the time of floats.

A version of this library ignores keys that it does not know.

The texts are untrusted: a pickle is loaded only by a serializer of pickles, and an error becomes an
object only if its class is an exception that this process has already imported.
"""
from __future__ import annotations

import sys
from json import JSONEncoder, loads
from time import perf_counter, time

from .._ids import short_id
from .._inspect import (described, module_of, qualname_of, shown, text_of, traceback_of,
                        traceback_text, why_not_rebuilt)
from ..engine.result import Failure, with_cause
from ..engine.task import CANCELED, COMPLETED, STARTED, Progress
from ..engine.task_fields import cancelled_text
from ..errors import (InvalidArgumentError, RemoteError, RemoteTraceback, ResultNotStoredError,
                      TaskCancelledError)
from .stored import StoredResult, TaskState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Mapping, Optional, Tuple

    from ..engine.task import Task

    #: The positional arguments of a task, and its keyword arguments.
    Call = Tuple[Tuple[Any, ...], Optional[Mapping[str, Any]]]


#: Characters of a text. A longer value is not stored.
MAX_TEXT = 1 << 28
#: Characters of the repr of a value that cannot be stored.
MAX_REPR = 1000
#: Characters of one argument as JSON. A longer one is stored as its repr.
MAX_ARGUMENT = 10000

#: The types of which JSON restores the values exactly.
_EXACT = frozenset((type(None), bool, int, float, str))

_compact = JSONEncoder(separators=(",", ":"), allow_nan=False).encode
# The items are separated by line ends. JSON escapes those in strings, so a text of scalars can be
# split again.
_lines = JSONEncoder(separators=("\n", ":"), allow_nan=False, check_circular=False).encode


#: As int() of a float, in half the time before 3.12.
_trunc = float.__trunc__


def state_of(task: Task[Any]) -> TaskState:
    """Return the current state of a task."""
    status = task._status
    if status == COMPLETED:
        return TaskState.FAILURE if type(task._outcome) is Failure else TaskState.SUCCESS
    if status == CANCELED:
        return TaskState.FAILURE
    if status == STARTED:
        return TaskState.STARTED
    return TaskState.RETRY if task.attempts else TaskState.PENDING


class Serializer:
    """Writes and reads the texts of one backend. (no lock)

    All of it may run code of the application, as ``repr`` does.
    """

    def __init__(self, serializer: str) -> None:
        if serializer not in ("json", "pickle"):
            raise InvalidArgumentError(f"serializer takes 'json' or 'pickle', not {serializer!r}")
        self._pickles = serializer == "pickle"

    # -- writing -----------------------------------------------------------------------------------

    def encode_tasks(self, tasks: dict[str, Task[Any]], calls: Mapping[Task[Any], Call] = {},
                     at: str | None = None) -> dict[str, str]:
        """Return the texts of many tasks by id.

        Most of them have ended with scalar values; those are encoded together, in one step.

        :param calls: the arguments to be stored.
        :param at: the address where this process takes requests.
        """
        texts: dict[str, str] = {}
        plain = {task_id: task for task_id, task in tasks.items()
                 if task._status == COMPLETED and task._extra is None
                 and type(task._outcome) in _EXACT and task not in calls}
        if plain:
            try:
                values = _lines([task._outcome for task in plain.values()])[1:-1].split("\n")
            except ValueError:          # a float that is no number
                pass
            else:
                if sum(map(len, values)) < MAX_TEXT:
                    _add_plain_texts(plain, values, texts)
        if len(texts) < len(tasks):
            for task_id, task in tasks.items():
                if task_id not in texts:
                    texts[task_id] = self.encode_task(task, calls.get(task), at)
        return texts

    def encode_task(self, task: Task[Any], call: Call | None = None, at: str | None = None) -> str:
        """Return the current text of a task.

        Arguments as :meth:`encode_tasks`.
        """
        state = state_of(task)
        try:
            return self._encode_task(task, state, call, at)
        except BaseException:       # an object of the application may fail even to give its name
            return _state_text(state, _INDESCRIBABLE.get(state, ""))

    def _encode_task(self, task: Task[Any], state: TaskState, call: Call | None,
                     at: str | None) -> str:
        epoch = time() - perf_counter()
        about = self._about(task.name, epoch + task._queued,
                            epoch + task._started if task._has_started() else None,
                            epoch + task._completed if state.is_final else None,
                            task.attempts, task.progress, call)
        if not state.is_final:
            return _state_text(state, about + ("" if at is None else f',"at":{_compact(at)}'))
        outcome = task._outcome
        if task._status == CANCELED:
            error = TaskCancelledError(f"task {task.name} ({task.short_id}) "
                                       + cancelled_text(task))
            return self._encode_error(error, "", about)
        if type(outcome) is Failure:
            trace = traceback_text(outcome.error, outcome.traceback)
            return self._encode_error(outcome.error, trace, about)
        return self._encode_value(outcome, about)

    def encode(self, stored: StoredResult) -> str:
        """Return the text of a stored result."""
        call = None
        if stored.args is not None or stored.kwargs is not None:
            call = stored.args or (), stored.kwargs
        about = self._about(stored.name, stored.time_queued, stored.time_started,
                            stored.time_completed, stored.attempts, stored.progress, call)
        if not stored.state.is_final:
            return _state_text(stored.state, about)
        if stored.state is TaskState.SUCCESS:
            return self._encode_value(stored.result, about)
        error, trace = stored.error, stored.traceback
        if error is None or not issubclass(type(error), BaseException):
            raise InvalidArgumentError(f"the stored result of {stored.task_id!r} is a FAILURE, so "
                                       f"its error is an exception, not {shown(error)}")
        if trace is None:
            trace = traceback_text(error, traceback_of(error))
        return self._encode_error(error, trace, about)

    def _about(self, name: Any, queued: float | None, started: float | None,
               completed: float | None, attempts: int | None, progress: Any,
               call: Call | None) -> str:
        """Return the description of a task, which follows its state."""
        about = "" if name is None else f',"name":{_name_text(name)}'
        if attempts is not None:
            about += f',"attempts":{attempts:d}'
        if queued is not None:
            # Not by json.dumps, which takes three times as long: this runs for each result.
            about += (f',"times":[{round(1e6 * queued)},{_micros_between(queued, started)},'
                      f'{_micros_between(queued, completed)}]')
        if progress is not None:
            about += _progress_text(progress)
        return about if call is None else about + self._call_text(*call)

    def _call_text(self, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None) -> str:
        if self._pickles:
            try:
                pickled = _pickle_b64((args, dict(kwargs or ())))
                if len(pickled) <= MAX_TEXT:
                    return f',"call":"{pickled}"'
            except BaseException:           # as JSON, then
                pass
        named = ",".join([f"{_compact(name)}:{_argument_text(value)}"
                          for name, value in (kwargs or {}).items()])
        return f',"args":[{",".join(map(_argument_text, args))}],"kwargs":{{{named}}}'

    def _encode_value(self, value: Any, about: str) -> str:
        try:
            text = self._value_text(value)
            if len(text) > MAX_TEXT:
                raise ValueError(f"it takes {len(text)} characters, and the most is {MAX_TEXT}")
            return f'{{"state":"SUCCESS"{about},{text}}}'
        except BaseException as error:      # raised by the value's own code; the thread goes on
            text = f'"repr":{_compact(_short_repr(value))},"why":{_compact(described(error))}'
            return f'{{"state":"SUCCESS"{about},{text}}}'

    def _value_text(self, value: Any) -> str:
        if not self._pickles or type(value) in _EXACT:
            try:
                return f'"result":{_compact(value)}'
            except ValueError:              # such as a float that is no number
                if not self._pickles:
                    raise
        return f'"pickle":"{_pickle_b64(value)}"'

    def _encode_error(self, error: BaseException, trace: str, about: str) -> str:
        kind = type(error)
        description: dict[str, Any] = {"module": module_of(kind) or "?",
                                       "name": qualname_of(kind), "message": text_of(error)}
        if self._pickles:
            try:
                return _failure_text(about, description, trace, pickle=_pickle_b64(error))
            except BaseException:           # the description alone is stored
                pass
        try:
            parts: Any = error.__reduce__()
            more = parts[2] if len(parts) == 3 else {}
            if parts[0] is kind and len(parts) in (2, 3) and isinstance(more, dict):
                rebuildable = dict(description, args=list(parts[1]), more=more)
                return _failure_text(about, rebuildable, trace)
        except BaseException:               # JSON cannot hold the arguments
            pass
        return _failure_text(about, description, trace)

    # -- reading -----------------------------------------------------------------------------------

    def decode(self, task_id: str, text: str | None) -> StoredResult:
        """Return the record in a text. None is the text of an unknown id.

        :raises ValueError: the text is not one of this class.
        """
        if text is None:
            return StoredResult(task_id, TaskState.PENDING)
        stored = loads(text)
        state = TaskState(stored["state"])
        result, error, trace = None, None, None
        if state is TaskState.FAILURE:
            trace = stored.get("traceback") or None
            error = self._rebuild(stored, trace)
        elif "result" in stored:
            result = stored["result"]
        elif state is TaskState.SUCCESS:
            result, error = self._other_value(task_id, stored)
        args, kwargs = self._call_of(stored)
        progress = stored.get("progress")
        queued, *later = stored.get("times") or (None, None, None)
        started, completed = [None if micros is None else (queued + micros) / 1e6
                              for micros in later]
        return StoredResult(task_id, state, result, error, trace, stored.get("name"),
                            queued and queued / 1e6, started, completed, stored.get("attempts"),
                            None if progress is None else Progress(*progress), args, kwargs)

    def _other_value(self, task_id: str,
                     stored: dict[str, Any]) -> tuple[Any, BaseException | None]:
        """Return a value that is not stored as JSON, or an error."""
        if "pickle" not in stored:
            advice = "have the function return plain data"
            if not self._pickles:
                advice += ", or give the backend serializer='pickle'"
            return None, ResultNotStoredError(
                f"task {short_id(task_id)} succeeded, but its value could not be stored "
                f"({stored['why']}); {advice}. It was {stored['repr']}")
        if not self._pickles:
            return None, ResultNotStoredError(
                f"task {short_id(task_id)} succeeded, and its value was stored as a pickle. "
                "Reading a pickle can run any code: give the backend serializer='pickle' if you "
                "trust all programs that write to it")
        try:
            return _unpickle_b64(stored["pickle"]), None
        except BaseException as error:
            return None, ResultNotStoredError(f"task {short_id(task_id)} succeeded, but its value "
                                              f"cannot be rebuilt here ({described(error)})")

    def _call_of(self, stored: dict[str, Any]) -> tuple[tuple[Any, ...] | None,
                                                        dict[str, Any] | None]:
        """Return the arguments if they were stored and can be read here."""
        if "args" in stored:
            return tuple(stored["args"]), dict(stored["kwargs"])
        if self._pickles and "call" in stored:
            try:
                args, kwargs = _unpickle_b64(stored["call"])
                return args, kwargs
            except BaseException:           # such as a class that is not here, or has changed
                pass
        return None, None

    def encode_address(self, address: str) -> str:
        """Return the text of an entry that holds only an address."""
        return _state_text(TaskState.PENDING, f',"at":{_compact(address)}')

    def address_in(self, text: str | None) -> str | None:
        """Return the address in the text of a task, or None.

        :raises ValueError: the text is not one of this class.
        """
        at = None if text is None else loads(text).get("at")
        return at if isinstance(at, str) else None

    def _rebuild(self, stored: dict[str, Any], trace: str | None) -> BaseException:
        description = stored["error"]
        module, name = description["module"], description["name"]
        error: BaseException | None = None
        reason = f"{name} was not stored in a form from which it can be made again"
        try:
            if self._pickles and "pickle" in stored:
                error = _unpickle_b64(stored["pickle"])
            elif "args" in description:
                error = _rebuild_error(description)
                reason = (f"{module} is not imported in this process, or has no class {name} that "
                          "makes the same error of these arguments")
        except BaseException as raised:     # such as a class that has changed
            reason = why_not_rebuilt(raised)
        if error is None or not issubclass(type(error), BaseException):
            error = RemoteError(f"{module}.{name}", description["message"], trace or "", reason)
        return error if trace is None else with_cause(error, RemoteTraceback(trace))


def _rebuild_error(description: dict[str, Any]) -> BaseException | None:
    """Return an exception of a class that is already imported, or None.

    No file can cause an import. Nor can it rebuild a SystemExit or similar, which would end the
    reader.
    """
    found: Any = sys.modules.get(description["module"])
    for name in description["name"].split("."):
        # In the dict itself: getattr() may import or run any code of a module or a metaclass.
        try:
            found = object.__getattribute__(found, "__dict__").get(name)
        except AttributeError:
            return None
    if not (isinstance(found, type) and issubclass(found, Exception)):
        return None
    error = found(*description["args"])
    if description["more"]:
        error.__dict__.update(description["more"])
    return error if text_of(error) == description["message"] else None


#: The rest of the text of a task that has ended and cannot be described.
_INDESCRIBABLE = {
    TaskState.SUCCESS: ',"repr":"an object that cannot be shown","why":"it cannot be described"',
    TaskState.FAILURE: ',"error":{"module":null,"name":"error",'
                       '"message":"an error that cannot be shown"}'}


def _state_text(state: TaskState, about: str) -> str:
    return f'{{"state":"{state}"{about}}}'


def _failure_text(about: str, description: dict[str, Any], trace: str, **more: Any) -> str:
    fields = {"error": description, "traceback": trace, **more}
    return f'{{"state":"FAILURE"{about},{_compact(fields)[1:]}'


def _add_plain_texts(tasks: dict[str, Task[Any]], values: list[str],
                     texts: dict[str, str]) -> None:
    """Add the texts of tasks that succeeded at once. The values are JSON."""
    epoch, trunc = 1e6 * (time() - perf_counter()), _trunc
    spec = start = None
    for (task_id, task), value in zip(tasks.items(), values):
        if task._spec is not spec:
            spec = task._spec
            start = f'{{"state":"SUCCESS","name":{_name_text(spec.name)},"attempts":1,"times":['
        queued = task._queued
        # One string, as a part that is made first costs a tenth more: this runs for each result.
        texts[task_id] = (f'{start}{trunc(epoch + 1e6 * queued)},'
                          f'{trunc(1e6 * (task._started - queued))},'
                          f'{trunc(1e6 * (task._completed - queued))}],"result":{value}}}')


def _micros_between(queued: float, later: float | None) -> str:
    return "null" if later is None else f"{1e6 * (later - queued):.0f}"


def _name_text(name: Any) -> str:
    """Return a name as JSON.

    A callable of the application may have any object as its name.
    """
    try:
        return _compact("".join((name, "")))
    except BaseException:
        return _compact(_short_repr(name))


def _progress_text(progress: Any) -> str:
    """Return reported progress as JSON, or nothing if JSON cannot hold it."""
    try:
        return f',"progress":{_compact(list(progress))}'
    except BaseException:
        return ""


def _argument_text(value: Any) -> str:
    """Return an argument as JSON, or its repr if that is not possible."""
    try:
        text = _compact(value)
        if len(text) <= MAX_ARGUMENT:
            return text
    except BaseException:       # an object of the application can raise any exception
        pass
    return _compact(_short_repr(value))


def _pickle_b64(value: Any) -> str:
    import pickle
    from base64 import b64encode

    return b64encode(pickle.dumps(value, pickle.HIGHEST_PROTOCOL)).decode("ascii")


def _unpickle_b64(text: str) -> Any:
    import pickle
    from base64 import b64decode

    return pickle.loads(b64decode(text))


def _short_repr(value: Any) -> str:
    """Return the beginning of the repr of a value, without making the rest."""
    from reprlib import Repr

    shortener = Repr()
    shortener.maxlist = shortener.maxtuple = shortener.maxdict = 20
    shortener.maxset = shortener.maxfrozenset = 20
    shortener.maxstring = shortener.maxother = shortener.maxlong = MAX_REPR
    try:
        if isinstance(value, (bytes, bytearray)):
            start = repr(bytes(value[:100]))
            return start if len(value) <= 100 else f"{start}... ({len(value)} bytes)"
        return shortener.repr(value)[:MAX_REPR]
    except BaseException:
        return f"<{type(value).__name__} without a repr>"
