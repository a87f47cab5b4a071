"""The logger of the package."""
from __future__ import annotations

import logging
import sys

from . import _modes
from ._inspect import is_interrupt, plain_traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Log:
    """The logger ``atasker_like``, whose methods raise nothing.

    A handler can raise in the call that logs. The error is dropped: there is no other place to
    report it. Between ``legacy.install()`` and ``legacy.uninstall()`` it is the logger ``atasker``,
    which programs configure.
    """

    @property
    def _logger(self) -> logging.Logger:
        return logging.getLogger("atasker" if _modes.legacy else "atasker_like")

    def is_debug(self) -> bool:
        """Return True if messages at DEBUG are logged."""
        return self._logger.isEnabledFor(logging.DEBUG)

    def warning(self, message: str, *arguments: Any) -> None:
        """Log a warning."""
        self._write(logging.WARNING, message, arguments, None)

    def error(self, message: str, *arguments: Any, exc_info: Any = None) -> None:
        """Log an error, with the exception of ``exc_info``, as of :func:`sys.exc_info`."""
        self._write(logging.ERROR, message, arguments, exc_info)

    def error_in_finalizer(self, message: str, *arguments: Any, exc_info: Any) -> None:
        """Log an error from a finalizer, which may run at any line of the application."""
        try:
            logger = self._logger
            if sys.version_info[:2] == (3, 11) and logger.isEnabledFor(logging.ERROR):
                text = _without_carets(exc_info)
                record = logger.makeRecord(logger.name, logging.ERROR, __file__, 0, message,
                                           arguments, exc_info)
                record.exc_text = text
                return logger.handle(record)
        except Exception:
            pass        # as in _write(), or the error cannot be shown in this way
        self._write(logging.ERROR, message, arguments, exc_info)

    def critical(self, message: str, *arguments: Any) -> None:
        """Log a message that may be the last one of the application."""
        self._write(logging.CRITICAL, message, arguments, None)

    def info(self, message: str, *arguments: Any) -> None:
        """Log a message for an operator."""
        self._write(logging.INFO, message, arguments, None)

    def debug(self, message: str, *arguments: Any) -> None:
        """Log a message that only :func:`set_debug` shows."""
        if _debugging or not _modes.legacy:
            self._write(logging.DEBUG, message, arguments, None)

    def exception(self, message: str, *arguments: Any) -> None:
        """Log an error, with the exception that is being handled."""
        self._write(logging.ERROR, message, arguments, sys.exc_info())

    def _write(self, level: int, message: str, arguments: tuple[Any, ...], exc_info: Any) -> None:
        try:
            logger = self._logger
            if exc_info and logger.isEnabledFor(level):
                text = _text_instead(exc_info)
                if text is not None:
                    message, arguments, exc_info = message + "\n%s", (*arguments, text), None
            logger.log(level, message, *arguments, exc_info=exc_info, stacklevel=3)
        except Exception:
            pass        # a handler has raised, and errors are reported by handlers


def _text_instead(exc_info: Any) -> str | None:
    """Return a traceback as text if logging could not show its error, and else None.

    The traceback module asks an error for its notes, its cause and more. If the class raises then,
    logging would print that, and drop the record.
    """
    from traceback import TracebackException

    kind, error, trace = exc_info
    if error is None:
        return None
    try:
        # Without the frames, which take most of the time.
        "".join(TracebackException(kind, error, trace, limit=0).format())
    except BaseException as raised:
        if is_interrupt(raised):
            raise
        return plain_traceback(error, trace).rstrip("\n")
    return None


def _without_carets(exc_info: Any) -> str:
    """Return a traceback as text, without marks below its source lines.

    On Python 3.11, ast.parse() finds the marks. If the finalizer came in the middle of another
    ast.parse(), that one would raise a SystemError.
    """
    from traceback import TracebackException

    shown = [TracebackException(*exc_info)]
    text = shown[0]
    while shown:
        one: Any = shown.pop()
        for frame in one.stack:
            frame.colno = None
        shown += [other for other in (one.__cause__, one.__context__, *(one.exceptions or ()))
                  if other is not None]
    return "".join(text.format()).rstrip("\n")


log = _Log()

_debugging = False
#: The logger that set_debug() has set, and its level before.
_changed: tuple[logging.Logger, int] | None = None


def set_debug(mode: bool = True) -> None:
    """Set the level of the logger ``atasker_like`` to DEBUG, or back to the level before.

    Handlers are the application's affair: without one for DEBUG, nothing more is shown. Any thread
    may call it.

    Under ``legacy.install()`` the logger is ``atasker``, its level stays the application's, and
    messages of level DEBUG are written only between ``set_debug()`` and ``set_debug(False)``.

    :param mode: False sets the level back (default: True).

    >>> set_debug()
    >>> import logging
    >>> logging.getLogger('atasker_like').getEffectiveLevel() == logging.DEBUG
    True
    >>> set_debug(False)
    """
    global _debugging, _changed
    if mode and not _debugging and not _modes.legacy:
        logger = logging.getLogger("atasker_like")
        _changed = logger, logger.level
        logger.setLevel(logging.DEBUG)
    elif not mode and _changed is not None:
        logger, level = _changed
        logger.setLevel(level)
        _changed = None
    _debugging = bool(mode)
