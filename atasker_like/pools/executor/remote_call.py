"""The functions that an external executor runs: each makes one call of a task.

The call is pickled before the executor gets it, and its result before it returns to the executor.
So the executor, which could break, sees no object that cannot be pickled and no exception that ends
a process.
"""
from __future__ import annotations

import logging
import pickle
import sys
import threading
from functools import partial
from importlib import import_module
from time import perf_counter

from ..._ids import new_id
from ..._inspect import traceback_of
from ..._remote_task import RemoteTaskView
from ..._retry import plain_number
from ...engine.current import current_coroutine_task
from ...engine.result import with_traceback, without_first
from ...errors import TaskPicklingError
from ..process.child import ERROR, NONE, VALUE, _describe, undecorated
from ..process.log_relay import RelayHandler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional, Sequence, Tuple, Union

    from ...engine.task import Task

    #: The pickled function, the pickled arguments or None, the id and the number of the attempt.
    Entry = Tuple[bytes, Optional[bytes], str, int]
    #: The name, the retries, True if the function takes the id, the name of the executor, the
    #: origin, the version of the sender's Python (None if the executor carries names only), the
    #: topic of messages (None if the executor carries none), and the seconds after which no further
    #: call begins.
    Common = Tuple[str, int, bool, str, str, Optional[Tuple[int, int]], Optional[str], float]
    #: A report of progress: done, total, message.
    Report = Tuple[float, Optional[float], Optional[str]]
    #: The kind of the result, the pickled result, the seconds that the function ran, the records
    #: that no message carried, the last report.
    Result = Tuple[int, Optional[bytes], float, List[bytes], Optional[Report]]
    #: The id, the name and the attempt of a task, and a packed log record or a report.
    Message = Tuple[str, str, int, Union[bytes, Report]]


#: Names this process, so that a call knows that it runs in the process that has submitted it.
ORIGIN = new_id()

#: The modules that pickle functions and classes by value; the engines bring them along.
_PICKLERS = ("cloudpickle", "ray.cloudpickle", "joblib.externals.cloudpickle")

#: The maximal number of log records of one call.
_RECORDS = 1000
#: The least number of seconds between two reports of one call that go as messages.
_PAUSE = 0.1

_current = threading.local()        # call: the one that this thread runs, or None


#: Pickles a value by name.
dumps: Callable[[Any], bytes] = partial(pickle.dumps, protocol=5)


def dumps_by_value(value: Any) -> bytes | None:
    """Pickle a value by name where other processes can import the name, else by value.

    Return None if no engine has brought a pickler that can.

    :raises Exception: the value cannot be pickled by value either.
    """
    for name in _PICKLERS:
        # ray.cloudpickle is an attribute of a package that is imported already
        if name.partition(".")[0] in sys.modules:
            try:
                pickler = import_module(name)
            except ImportError:
                continue
            return pickler.dumps(value, protocol=5)  # type: ignore[no-any-return]
    return None


class _RecordsOfCall(RelayHandler):
    """Collects the log records of a call that nothing in the process of the executor handles."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record of the function itself, not of the threads that it starts."""
        call: ExecutorTaskView | None = getattr(_current, "call", None)
        if call is None or call.records >= _RECORDS:
            return
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return                  # in a forked process, a handler of the application
            logger = logger.parent if logger.propagate else None
        super().emit(record)


_handler = _RecordsOfCall(lambda packed: _current.call.add_record(packed))


class ExecutorTaskView(RemoteTaskView):
    """The task that ``current_task()`` returns in a process of an external executor."""

    __slots__ = ("records", "unsent", "report", "_topic", "_send", "_sent_at")

    def __init__(self, task_id: str, name: str, attempts: int, retries: int,
                 topic: str | None) -> None:
        super().__init__(task_id, name, attempts, retries)
        self.records: int = 0               # the number of log records so far
        self.unsent: list[bytes] = []       # those of them that go with the result
        self.report: Report | None = None   # the last one, which goes with the result, too
        self._topic = topic
        self._send: Callable[[Message], None] | None = None
        self._sent_at = 0.0

    def check_cancelled(self) -> None:
        """Do nothing: a cancel request does not reach the processes of an external executor."""

    def report_progress(self, done: float, total: float | None = None,
                        message: str | None = None) -> None:
        """Report the progress of the task.

        The last report goes with the result. If the executor carries messages, ten reports a second
        go at once.
        """
        self.report = (plain_number(done), None if total is None else plain_number(total),
                       None if message is None else "".join(message))
        now = perf_counter()
        if self._topic is not None and now - self._sent_at >= _PAUSE:
            self._sent_at = now
            self._tell(self.report)

    def add_record(self, packed: bytes) -> None:
        """Send a log record at once, or with the result."""
        self.records += 1
        if not self._tell(packed):
            self.unsent.append(packed)

    def _tell(self, what: bytes | Report) -> bool:
        """Send a message. Return False if the executor carries none."""
        if self._topic is None:
            return False
        try:
            if self._send is None:
                worker = import_module("distributed").get_worker()      # of Dask
                self._send = partial(worker.log_event, self._topic)
            self._send((self.id, self.name, self.attempts, what))
        except Exception:           # another version of Dask, or a worker that is about to end
            self._topic = None
            return False
        return True


def has_code(pickled: bytes | None) -> bool:
    """Return True if a pickle may contain the code of a function."""
    return pickled is not None and b"cloudpickle" in pickled


def run_remote(entries: Sequence[Entry], common: Common) -> list[Result]:
    """Run pickled calls of one function in a process of the executor, one after the other.

    If the calls take longer than expected, the last ones are not begun and have no result.
    """
    results: list[Result] = []
    end = perf_counter() + common[-1]
    for entry in entries:
        results.append(_run(*entry, common))
        if perf_counter() > end:
            break
    return results


class RunWhenLoaded:
    """An object whose pickle runs a call when it is loaded, and loads as the results.

    A worker gets ``pickle.loads`` and the bytes. It needs this package only when the call runs, so
    a worker without the package fails the call and nothing else.

    :param arguments: those of :func:`run_remote`.
    """

    __slots__ = ("arguments",)

    def __init__(self, arguments: tuple[list[Entry], Common]) -> None:
        self.arguments = arguments

    def __reduce__(self) -> tuple[Callable[..., list[Result]], tuple[list[Entry], Common]]:
        return run_remote, self.arguments


def _run(blob: bytes, payload: bytes | None, task_id: str, attempt: int, common: Common) -> Result:
    name, retries, takes_id, engine, origin, python, topic, _ = common
    stage = "function"
    call = ExecutorTaskView(task_id, name, attempt, retries, topic)
    if origin != ORIGIN:
        _current.call = call
        if _handler not in logging.root.handlers:
            logging.root.addHandler(_handler)
    token = current_coroutine_task.set(call)  # type: ignore[arg-type]
    began = perf_counter()
    try:
        if python is not None and python != sys.version_info[:2]:
            if has_code(blob) or has_code(payload):
                raise TaskPicklingError(
                    f"its code was sent from Python {python[0]}.{python[1]}, and the worker "
                    f"runs Python {sys.version_info[0]}.{sys.version_info[1]}: define it in a "
                    "module that both can import, or use one version")
            python = None               # no code in the result either
        function = undecorated(pickle.loads(blob))
        stage = "arguments"
        args, kwargs = ((), None) if payload is None else pickle.loads(payload)
        if takes_id:
            kwargs = dict(kwargs or (), _task_id=task_id)
        stage = "run"
        began = perf_counter()
        value = function(*args, **kwargs) if kwargs else function(*args)
        seconds = perf_counter() - began
        if value is None:
            return NONE, None, seconds, call.unsent, call.report
        stage = "result"
        pickled = dumps_by_name_or_value(value, python is not None)
        return VALUE, pickled, seconds, call.unsent, call.report
    except BaseException as error:
        described = _describe(error, stage, name, task_id, engine)
        return ERROR, described, perf_counter() - began, call.unsent, call.report
    finally:
        current_coroutine_task.reset(token)
        _current.call = None


def dumps_by_name_or_value(value: Any, by_value: bool,
                           by_name: Callable[[Any], bytes] = dumps) -> bytes:
    """Pickle by name, or by value if the executor carries that and a name would not do."""
    try:
        pickled = by_name(value)
    except Exception:
        found = dumps_by_value(value) if by_value else None
        if found is None:
            raise
        return found
    if by_value and b"__main__" in pickled:
        return dumps_by_value(value) or pickled
    return pickled


def run_local(task: Task[Any], function: Callable[..., Any], args: tuple[Any, ...],
             kwargs: dict[str, Any] | None) -> tuple[int, Any]:
    """Run a call in a thread of the executor; return the kind of the result and the result."""
    token = current_coroutine_task.set(task)
    try:
        return VALUE, function(*args, **(kwargs or {}))
    except BaseException as error:
        with_traceback(error, without_first(traceback_of(error)))
        return ERROR, error
    finally:
        current_coroutine_task.reset(token)
        del task, args, kwargs
