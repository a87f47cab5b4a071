"""The relay of log records from pool processes to the handlers of the parent.

::

    logger in the child ──> RelayHandler ──> result pipe ──> logger of that name in the parent

A child has no other handler, since the application configures files and formats in the parent. The
record that arrives there carries ``task_id`` and ``task_name`` of the task that logged it (None
outside of tasks), and ``process`` and ``processName`` of the child.

Records are sent as plain data, never pickled: a log record cannot run code in the parent.
"""
from __future__ import annotations

import logging
import marshal
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Tuple

    #: The level of the root logger, the disabled level, the levels of other loggers by name.
    Levels = Tuple[int, int, Dict[str, int]]


#: The maximal number of characters of a message, or of a traceback, that are sent.
LONGEST = 1 << 16

_TEXTS = ("name", "levelname", "pathname", "filename", "module", "funcName", "threadName",
          "processName")
_PLAIN = (str, int, float, bool, type(None))
_OWN = (frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__)
        | {"message", "asctime", "taskName"})


def levels() -> Levels:
    """Return the levels of the parent's loggers, for :func:`install`."""
    root = logging.getLogger()
    set_ones = {name: logger.level for name, logger in list(root.manager.loggerDict.items())
                if isinstance(logger, logging.Logger) and logger.level}
    return root.level, root.manager.disable, set_ones


def install(wanted: Levels, send: Callable[[bytes], None]) -> None:
    """In the child, send all records that the parent's levels let pass, and remove all handlers."""
    root = logging.getLogger()
    for logger in [root, *root.manager.loggerDict.values()]:
        if isinstance(logger, logging.Logger):
            logger.handlers = []        # a forked child has handlers of the parent
            logger.propagate = True
    level, root.manager.disable, others = wanted
    root.setLevel(level)
    for name, other in others.items():
        logging.getLogger(name).setLevel(other)
    root.addHandler(RelayHandler(send))


class RelayHandler(logging.Handler):
    """Sends records to the parent, as plain data."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record. An error in its arguments goes to ``handleError()``."""
        try:
            packed = _pack(record)
        except Exception:
            self.handleError(record)
            return
        # An error: the parent has ended, and this process is about to end.
        with suppress(OSError, ValueError):
            self._send(packed)


def _pack(record: logging.LogRecord) -> bytes:
    trace: str | None = record.exc_text
    if trace is None and record.exc_info:
        trace = (logging.Formatter().formatException(record.exc_info)
                 .replace("__mp_main__.", "__main__."))
    fields: dict[str, Any] = {name: _text(getattr(record, name)) for name in _TEXTS}
    fields.update({
        "levelno": int(record.levelno), "lineno": int(record.lineno or 0),
        "msg": _text(record.getMessage()),
        "exc_text": None if trace is None else _text(trace),
        "stack_info": None if record.stack_info is None else _text(record.stack_info),
        "created": float(record.created), "msecs": float(record.msecs),
        "thread": record.thread, "process": record.process,
    })
    for name, value in record.__dict__.items():
        # The fields of extra=, if their values are plain data.
        if name not in _OWN and type(value) in _PLAIN:
            fields[name] = _text(value) if type(value) is str else value
    return marshal.dumps(fields)


def _text(value: Any) -> str:
    text = "".join((str(value), ""))    # an exact str, which marshal takes
    return text if len(text) <= LONGEST else text[:LONGEST] + " ... (cut)"


def unpack(payload: Any) -> dict[str, Any]:
    """Return the fields of a record.

    :raises ValueError: the payload is no log record.
    """
    fields = marshal.loads(payload)
    if type(fields) is not dict:
        raise ValueError("not a log record")
    return fields


def handle(fields: dict[str, Any], task_id: str | None, task_name: str | None) -> None:
    """In the parent, pass a record to its logger. That runs the application's handlers."""
    record = logging.makeLogRecord(
        dict(fields, args=None, exc_info=None, task_id=task_id, task_name=task_name))
    record.relativeCreated = (record.created - _began) * 1000
    logger = logging.getLogger(record.name if record.name != "root" else None)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


_began: float = logging.LogRecord("", 0, "", 0, "", (), None).created
