"""The progress of a wait: a bar on a terminal, plain lines elsewhere, nothing when stderr is closed."""
from __future__ import annotations

import sys
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, TextIO

__all__ = ["ProgressBar"]

#: Seconds between two drawings of the bar, and between two plain lines.
BAR_EVERY = 0.1
LINE_EVERY = 5.0
_WIDEST = 40


class ProgressBar:
    """Shows how many of a number of tasks have ended. For one thread.

    :param total: how many there are.
    :param label: what stands before the bar.
    :param stream: where to; stderr unless told.
    """

    def __init__(self, total: int, label: str = "tasks", stream: "Optional[TextIO]" = None) -> None:
        self.total = total
        self.label = label
        self._stream = sys.stderr if stream is None else stream
        self._began = monotonic()
        self._shown = -1
        self._drawn_at = self._began
        self._drawn = False         # a bar stands on the terminal's last line
        try:
            self._terminal = self._stream is not None and self._stream.isatty()
            self._open = self._stream is not None and not self._stream.closed
        except (ValueError, AttributeError):    # closed, or not much of a stream
            self._terminal = self._open = False

    @property
    def interval(self) -> float:
        """Seconds after which another look is worth while."""
        return BAR_EVERY if self._terminal else LINE_EVERY

    def update(self, done: int, failed: int = 0) -> None:
        """Show the state, if it is time; called as often as one likes."""
        now = monotonic()
        if not self._open or (now - self._drawn_at < self.interval and self._drawn_at != self._began):
            return
        if now - self._began < self.interval and not self._terminal:
            return
        self._show(done, failed, now)

    def finish(self, done: int, failed: int = 0) -> None:
        """Show the last state and end the line."""
        if not self._open:
            return
        if self._terminal or self._drawn:
            self._show(done, failed, monotonic())
            self._write("\n" if self._terminal else "")
        else:
            self._show(done, failed, monotonic())

    def _show(self, done: int, failed: int, now: float) -> None:
        self._drawn_at = now
        elapsed = now - self._began
        share = done / self.total if self.total else 1.0
        rate = f"{done / elapsed:,.0f}/s" if elapsed > 0 and done else ""
        tail = f"{done:,}/{self.total:,} {share:4.0%} {elapsed:6.1f} s {rate}"
        if failed:
            tail += f", {failed:,} failed"
        if not self._terminal:
            self._write(f"{self.label}: {tail}\n")
            return
        import shutil

        columns = shutil.get_terminal_size().columns
        width = max(0, min(_WIDEST, columns - len(self.label) - len(tail) - 6))
        filled = int(width * share)
        line = f"{self.label} |{'#' * filled}{'.' * (width - filled)}| {tail}" if width else f"{self.label} {tail}"
        self._write(f"\r{line[:columns - 1]}\x1b[K")
        self._drawn = True

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):       # closed meanwhile: the work goes on without it
            self._open = False
