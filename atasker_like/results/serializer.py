"""How results become text and text becomes results again.

What is stored of a task is one JSON object: its ``state``, and beside it one of

* ``result``: the value;
* ``pickle``: the value or the error, pickled and in base64, when the backend was asked for that by name;
* ``repr``: what the value looked like, and ``why`` it could not be kept;
* ``error``: module, name and message of an exception's class, its arguments if JSON can hold them; and ``traceback``.

Nothing here trusts what it reads: a pickle is loaded only for who asked for pickles, and an error becomes an object only
if its class is an exception that this process has imported already.
"""
from __future__ import annotations

import sys
from json import JSONEncoder, loads

from ..engine.result import Failure, with_cause
from ..engine.task import CANCELED, COMPLETED, STARTED
from ..errors import (InvalidArgumentError, RemoteError, RemoteTraceback, ResultNotStoredError,
                      TaskCancelledError)
from .stored import StoredResult, TaskState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..engine.task import Task

__all__ = ["Coder", "state_of"]

#: Characters of the longest text that is stored; a longer value is not kept.
LONGEST = 1 << 28
#: Characters that are kept of the repr of a value that cannot be stored.
REPR_MOST = 1000

#: Of these types JSON gives back exactly what it was given.
_EXACT = frozenset((type(None), bool, int, float, str))

_compact = JSONEncoder(separators=(",", ":"), allow_nan=False).encode
# A line end separates the items: JSON writes those of strings otherwise, so a text of scalars can be split again.
_lines = JSONEncoder(separators=("\n", ":"), allow_nan=False, check_circular=False).encode

_STATES = {TaskState.STARTED: '{"state":"STARTED"}', TaskState.RETRY: '{"state":"RETRY"}',
           TaskState.PENDING: '{"state":"PENDING"}'}


def state_of(task: Task[Any]) -> TaskState:
    """Return the state of a task at this moment."""
    status = task._status
    if status == COMPLETED:
        return TaskState.FAILURE if type(task._outcome) is Failure else TaskState.SUCCESS
    if status == CANCELED:
        return TaskState.FAILURE
    if status == STARTED:
        return TaskState.STARTED
    return TaskState.RETRY if task.attempts else TaskState.PENDING


class Coder:
    """Writes and reads the texts of one backend. All of it runs code of others (``repr`` does), so no lock is held."""

    def __init__(self, serializer: str) -> None:
        if serializer not in ("json", "pickle"):
            raise InvalidArgumentError(f"serializer takes 'json' or 'pickle', not {serializer!r}")
        self._pickles = serializer == "pickle"

    # -- writing -------------------------------------------------------------------------------------

    def encode_tasks(self, tasks: dict[str, Task[Any]]) -> dict[str, str]:
        """Return the texts of many tasks by id. Most have ended with plain values: those take one step together."""
        texts: dict[str, str] = {}
        plain = {task_id: task._outcome for task_id, task in tasks.items()
                 if task._status == COMPLETED and type(task._outcome) in _EXACT}
        if plain:
            try:
                values = _lines(list(plain.values()))[1:-1].split("\n")
            except ValueError:          # a float that is no number
                plain = {}
            else:
                if sum(map(len, values)) < LONGEST:
                    texts = {task_id: f'{{"state":"SUCCESS","result":{value}}}'
                             for task_id, value in zip(plain, values)}
        if len(texts) < len(tasks):
            for task_id, task in tasks.items():
                if task_id not in texts:
                    texts[task_id] = self.encode_task(task)
        return texts

    def encode_task(self, task: Task[Any]) -> str:
        """Return the text of a task as it is now."""
        state = state_of(task)
        if not state.is_final:
            return _STATES[state]
        outcome = task._outcome
        if task._status == CANCELED:
            return self._encode_error(TaskCancelledError(f"task {task.name} ({task.id[-8:]}) was cancelled"), "")
        if type(outcome) is Failure:
            return self._encode_error(outcome.error, _traceback_text(outcome.error, outcome.traceback))
        return self._encode_value(outcome)

    def encode(self, stored: StoredResult) -> str:
        """Return the text of a stored result."""
        if not stored.state.is_final:
            return _STATES[stored.state]
        if stored.state is TaskState.SUCCESS:
            return self._encode_value(stored.result)
        error = stored.error
        if not isinstance(error, BaseException):
            raise InvalidArgumentError(f"the stored result of {stored.task_id!r} is a FAILURE, so its error is an exception, "
                                       f"not {error!r}")
        return self._encode_error(error, _traceback_text(error, error.__traceback__) if stored.traceback is None
                                  else stored.traceback)

    def _encode_value(self, value: Any) -> str:
        try:
            if self._pickles and type(value) not in _EXACT:
                text = f'{{"state":"SUCCESS","pickle":"{_pickled(value)}"}}'
            else:
                try:
                    text = f'{{"state":"SUCCESS","result":{_compact(value)}}}'
                except ValueError:
                    if not self._pickles:
                        raise
                    text = f'{{"state":"SUCCESS","pickle":"{_pickled(value)}"}}'    # not a number
            if len(text) > LONGEST:
                raise ValueError(f"it takes {len(text)} characters, and the most is {LONGEST}")
            return text
        except BaseException as error:      # whatever code of others raises, this thread goes on
            return _compact({"state": "SUCCESS", "repr": _short(value), "why": f"{type(error).__name__}: {_message(error)}"})

    def _encode_error(self, error: BaseException, text: str) -> str:
        kind = type(error)
        described: dict[str, Any] = {"module": kind.__module__, "name": kind.__qualname__, "message": _message(error)}
        stored: dict[str, Any] = {"state": "FAILURE", "error": described, "traceback": text}
        if self._pickles:
            try:
                return _compact(dict(stored, pickle=_pickled(error)))
            except BaseException:           # its words are kept
                pass
        try:
            made: Any = error.__reduce__()
            if made[0] is kind and (len(made) == 2 or isinstance(made[2], dict) and len(made) == 3):
                return _compact(dict(stored, error=dict(described, args=list(made[1]),
                                                        more=made[2] if len(made) == 3 else {})))
        except BaseException:               # JSON cannot hold its arguments: its words are kept
            pass
        return _compact(stored)

    # -- reading -------------------------------------------------------------------------------------

    def decode(self, task_id: str, text: str | None) -> StoredResult:
        """Return what a text says. None is an id that nobody knows.

        :raises ValueError: it is no text of this module's.
        """
        if text is None:
            return StoredResult(task_id, TaskState.PENDING)
        stored = loads(text)
        state = TaskState(stored["state"])
        if not state.is_final:
            return StoredResult(task_id, state)
        if state is TaskState.FAILURE:
            trace = stored.get("traceback") or None
            return StoredResult(task_id, state, None, self._rebuild(stored, trace), trace)
        if "result" in stored:
            return StoredResult(task_id, state, stored["result"])
        error: BaseException
        if "pickle" not in stored:
            advice = "have the function return plain data" + (
                "" if self._pickles else ", or give the backend serializer='pickle'")
            error = ResultNotStoredError(f"task {task_id[-8:]} succeeded, but its value could not be stored "
                                         f"({stored['why']}); {advice}. It was {stored['repr']}")
        elif not self._pickles:
            error = ResultNotStoredError(f"task {task_id[-8:]} succeeded, and its value was stored as a pickle. To read one runs "
                                         "what it says: give the backend serializer='pickle' if you trust all who write to it")
        else:
            try:
                return StoredResult(task_id, state, _unpickled(stored["pickle"]))
            except BaseException as raised:
                error = ResultNotStoredError(f"task {task_id[-8:]} succeeded, but its value cannot be rebuilt here "
                                             f"({type(raised).__name__}: {_message(raised)})")
        return StoredResult(task_id, state, None, error)

    def _rebuild(self, stored: dict[str, Any], trace: str | None) -> BaseException:
        described = stored["error"]
        error: BaseException | None = None
        try:
            if self._pickles and "pickle" in stored:
                error = _unpickled(stored["pickle"])
            elif "args" in described:
                error = _made_again(described)
        except BaseException:               # its class has changed, or wants other arguments
            pass
        if not isinstance(error, BaseException):
            error = RemoteError(f"{described['module']}.{described['name']}", described["message"], trace or "")
        return error if trace is None else with_cause(error, RemoteTraceback(trace))


def _made_again(described: dict[str, Any]) -> BaseException | None:
    """Make an exception of a class that is there already: nothing is imported because a file says so.

    Of the others, SystemExit and its like, reading a result would end the reader: their words are enough.
    """
    found: Any = sys.modules.get(described["module"])
    for name in described["name"].split("."):
        try:        # in the dict itself: modules and metaclasses may import, or run, what they like when asked for a name
            found = object.__getattribute__(found, "__dict__").get(name)
        except AttributeError:
            return None
    if not (isinstance(found, type) and issubclass(found, Exception)):
        return None
    error = found(*described["args"])
    if described["more"]:
        error.__dict__.update(described["more"])
    return error if _message(error) == described["message"] else None


def _pickled(thing: Any) -> str:
    import pickle
    from base64 import b64encode

    return b64encode(pickle.dumps(thing, pickle.HIGHEST_PROTOCOL)).decode("ascii")


def _unpickled(text: str) -> Any:
    import pickle
    from base64 import b64decode

    return pickle.loads(b64decode(text))


def _traceback_text(error: BaseException, trace: Any) -> str:
    from traceback import format_exception

    try:
        return "".join(format_exception(type(error), error, trace))
    except BaseException:                   # its __str__ raises
        return f"(the traceback of {type(error).__name__} could not be formatted)"


def _message(error: BaseException) -> str:
    try:
        return "".join((str(error), ""))    # a plain str, whatever it gave
    except BaseException:
        return type(error).__name__


def _short(value: Any) -> str:
    """The repr of a value, or its beginning, without making more of it than that where the type is known."""
    from reprlib import Repr

    shortener = Repr()
    shortener.maxlist = shortener.maxtuple = shortener.maxdict = shortener.maxset = shortener.maxfrozenset = 20
    shortener.maxstring = shortener.maxother = shortener.maxlong = REPR_MOST
    try:
        if isinstance(value, (bytes, bytearray)):
            start = repr(bytes(value[:100]))
            return start if len(value) <= 100 else f"{start}... ({len(value)} bytes)"
        return shortener.repr(value)[:REPR_MOST]
    except BaseException:
        return f"<{type(value).__name__} without a repr>"
