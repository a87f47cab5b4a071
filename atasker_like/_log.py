"""The logger of the package."""
from __future__ import annotations

import logging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["log", "set_debug"]


class _Log:
    """The logger ``atasker_like``, for threads that must go on: a handler may let its errors through to whoever logs,
    and there is nowhere left to report them."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def warning(self, message: str, *arguments: Any) -> None:
        """Log a warning."""
        self._write(logging.WARNING, message, arguments, None)

    def error(self, message: str, *arguments: Any, exc_info: Any = None) -> None:
        """Log an error."""
        self._write(logging.ERROR, message, arguments, exc_info)

    def critical(self, message: str, *arguments: Any) -> None:
        """Log what may be the end of the application."""
        self._write(logging.CRITICAL, message, arguments, None)

    def info(self, message: str, *arguments: Any) -> None:
        """Log what an operator may want to know."""
        self._write(logging.INFO, message, arguments, None)

    def debug(self, message: str, *arguments: Any) -> None:
        """Log what only :func:`set_debug` shows."""
        self._write(logging.DEBUG, message, arguments, None)

    def set_level(self, level: int) -> int:
        """Set from which level on messages are logged; return what it was."""
        was = self._logger.level
        self._logger.setLevel(level)
        return was

    def exception(self, message: str, *arguments: Any) -> None:
        """Log an error, with the exception that is being handled."""
        self._write(logging.ERROR, message, arguments, True)

    def _write(self, level: int, message: str, arguments: tuple[Any, ...], exc_info: Any) -> None:
        try:
            self._logger.log(level, message, *arguments, exc_info=exc_info, stacklevel=3)
        except Exception:
            pass        # a handler let its error through, and this is where errors are reported


log = _Log("atasker_like")

_level_before = logging.NOTSET
_debugging = False


def set_debug(mode: bool = True) -> None:
    """Log more, or as much as before: the level of the logger ``atasker_like`` is set to DEBUG, and back.

    Handlers are the application's affair: without one that takes DEBUG, nothing more is seen. From any thread.

    >>> set_debug()
    >>> import logging
    >>> logging.getLogger('atasker_like').getEffectiveLevel() == logging.DEBUG
    True
    >>> set_debug(False)
    """
    global _debugging, _level_before
    if mode and not _debugging:
        _level_before = log.set_level(logging.DEBUG)
    elif not mode and _debugging:
        log.set_level(_level_before)
    _debugging = bool(mode)
