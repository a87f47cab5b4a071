"""ProgressBar: a bar on a terminal, plain lines elsewhere, nothing if stderr is closed."""
from __future__ import annotations

import os
import sys
from time import monotonic

from ._inspect import attribute_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

__all__ = ["ProgressBar"]

#: Seconds between two drawings of the bar, and between two plain lines.
BAR_EVERY = 0.1
LINE_EVERY = 5.0
#: Columns of the bar, at most and at least; if there is no room for the least, there is no bar.
_WIDEST, _NARROWEST = 40, 8


class ProgressBar:
    """Shows how many of a number of tasks have ended. For one thread.

    A bar needs a terminal that can return to the beginning of a line; a dumb one gets lines.

    :param total: the number of tasks.
    :param label: the text before the bar.
    :param stream: a text file (default: stderr).
    """

    def __init__(self, total: int, label: str = "tasks", stream: TextIO | None = None) -> None:
        self.total = total
        self.label = label
        self._stream: Any = sys.stderr if stream is None else stream
        self._began = monotonic()
        self._drawn_at: float | None = None
        self._drawn = 0             # columns that the bar occupies on the terminal's last line
        try:
            self._open = self._stream is not None and not attribute_of(self._stream, "closed", int)
            self._terminal = (self._open and self._stream.isatty() is True
                              and os.environ.get("TERM") != "dumb")
        except ValueError:          # its file was closed, and it does not know
            self._open = self._terminal = False
        except AttributeError:      # an object without isatty(), which may accept lines
            self._terminal = False

    @property
    def interval(self) -> float:
        """Seconds between two updates that are shown."""
        return BAR_EVERY if self._terminal else LINE_EVERY

    def update(self, done: int, failed: int = 0) -> None:
        """Show the state, if the interval has passed since the last time.

        The first call draws the bar. The first line comes after an interval, so that a short wait
        leaves only its end in a log.
        """
        if not self._open:
            return
        now = monotonic()
        last = self._drawn_at
        if last is None and not self._terminal:
            last = self._began
        if last is None or now - last >= self.interval:
            self._show(done, failed, now)

    def finish(self, done: int, failed: int = 0) -> None:
        """Show the last state and end the line."""
        if self._open:
            self._show(done, failed, monotonic())
        if self._open and self._terminal:
            self._write("\n")
            self._drawn = 0

    def _show(self, done: int, failed: int, now: float) -> None:
        self._drawn_at = now
        elapsed = now - self._began
        share = min(1.0, done / self.total) if self.total else 1.0
        count = f"{done:,}/{self.total:,} {share:4.0%}"
        clock = f" {elapsed:6.1f} s"
        rate = f" {done / elapsed:,.0f}/s" if elapsed > 0 and done else ""
        errors = f", {failed:,} failed" if failed else ""
        if not self._terminal:
            self._write(f"{self.label}: {count}{clock}{rate}{errors}\n")
            return
        room = self._columns() - 1      # after the last column some terminals begin a new line
        # If there is little room, the rate is left out, then the time, then the bar.
        for tail in (count + clock + rate + errors, count + clock + errors, count + errors):
            width = min(_WIDEST, room - len(self.label) - len(tail) - 4)
            if width >= _NARROWEST:
                filled = int(width * share)
                line = f"{self.label} |{'#' * filled}{'.' * (width - filled)}| {tail}"
                break
        else:
            line = f"{self.label} {count}{errors}"[:max(0, room)]
        # Blanks overwrite the rest of a longer line. They work on every terminal, unlike escapes.
        self._write(f"\r{line}{' ' * min(self._drawn - len(line), room - len(line))}")
        self._drawn = len(line)

    def _columns(self) -> int:
        """Return the width of the terminal of the stream; that of stdout may be another one."""
        columns = 0
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError, AttributeError):       # it has no file descriptor
            pass
        if columns <= 0:
            import shutil

            columns = shutil.get_terminal_size().columns
        return columns

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):       # closed meanwhile: show no more
            self._open = False
