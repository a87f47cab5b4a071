"""How progress is shown: a bar on a terminal, a line in a notebook, lines elsewhere, or calls.

On a terminal, other output must not break the bar. While a bar is shown, the ``write`` method of
the terminal's streams is replaced: it removes the bar, writes, and draws the bar below. That is all
that changes. The streams stay the same objects, so ``print()`` writes around the bar, and so do log
handlers that hold a stream, warnings and tracebacks. Nothing of :mod:`logging` is touched. When the
last bar has ended, the streams have their own methods again.
"""
from __future__ import annotations

import os
import sys
from math import floor
from time import monotonic

from ._atomics import RLock
from ._display import columns_of
from ._fork import register
from ._inspect import attribute_of, is_coroutine_function, name_of
from ._log import log
from ._patched import made_anew
from .errors import InvalidTypeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TextIO, Union

    #: What ``progress=`` takes.
    ShowProgress = Union[bool, str, Callable[[float, int, int], Any]]

    #: Shows the numbers of a watch.
    Display = Union["ProgressBar", "_Calls"]


#: Seconds between two drawings of a bar, between two if only the time changes, between two lines.
BAR_EVERY = 0.1
CLOCK_EVERY = 1.0
LINE_EVERY = 5.0
#: Columns of the bar, at most and at least; if there is no room for the least, there is no bar.
_WIDEST, _NARROWEST = 40, 5
#: Seconds that a write waits for the end of a drawing. The drawing may be that of a frame which a
#: signal handler interrupts, and which cannot end before the write.
_PATIENCE = 1.0
_RED, _YELLOW, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[0m"


def check_progress(progress: Any) -> None:
    """Refuse a ``progress`` argument of the wrong type."""
    if isinstance(progress, (bool, str)):
        return
    if not callable(progress):
        raise InvalidTypeError("progress takes True, a description, or a function that is called "
                               f"with (done, total, failed), not {type(progress).__name__}")
    if is_coroutine_function(progress):
        raise InvalidTypeError(f"progress takes a plain function; {name_of(progress)} is a "
                               "coroutine function, whose call does nothing by itself")


def display_of(progress: ShowProgress, total: int, label: str) -> Display:
    """Return the display for a ``progress`` argument.

    :param label: the description if the argument has none.
    """
    if callable(progress):
        return _Calls(progress, total)
    return ProgressBar(total, progress if isinstance(progress, str) and progress else label)


class ProgressBar:
    """Shows how many of a number of tasks have ended. For one thread.

    A bar needs a terminal that can return to the beginning of a line; a dumb one gets lines. In a
    notebook, one line is updated.

    :param total: the number of tasks; it may be changed.
    :param label: the text before the bar.
    :param stream: a text file (default: stderr, or the output of the cell of a notebook).
    """

    def __init__(self, total: int, label: str = "tasks", stream: TextIO | None = None) -> None:
        self.total = total
        self.label = _printable(label)
        self._stream: Any = sys.stderr if stream is None else stream
        self._notebook = _Notebook() if stream is None and _has_notebook() else None
        self._began = monotonic()
        self._drawn_at: float | None = None
        self._first: float | None = None        # the share that was done at the first update
        self._text = ""             # what is shown, or would be if other output were not in its way
        self._drawn = 0             # columns that the bar occupies on the terminal's last line
        self._colours = False
        try:
            self._open = self._stream is not None and not attribute_of(self._stream, "closed", int)
            self._terminal = (self._open and self._stream.isatty() is True
                              and os.environ.get("TERM") != "dumb")
        except (OSError, ValueError):   # its file was closed, and it does not know
            self._open = self._terminal = False
        except AttributeError:      # an object without isatty(), which may accept lines
            self._terminal = False
        if self._notebook is not None:
            self._open, self._terminal = True, False
        elif self._terminal:
            self._colours = _has_colours()

    @property
    def interval(self) -> float:
        """Seconds between two updates that are shown."""
        return BAR_EVERY if self._terminal or self._notebook is not None else LINE_EVERY

    def due(self, changed: bool) -> float | None:
        """Return when to call :meth:`update` next, by the monotonic clock; None for never."""
        if not self._open:
            return None
        if self._drawn_at is None:
            return self._began if self.interval == BAR_EVERY else self._began + LINE_EVERY
        if changed or self.interval == LINE_EVERY:
            return self._drawn_at + self.interval
        return self._drawn_at + CLOCK_EVERY

    def update(self, done: float, failed: int = 0, retried: int = 0) -> bool:
        """Show the state, if the interval has passed since the last time.

        The first call draws the bar. The first line comes after an interval, so that a short wait
        leaves only its end in a log. Return True if the state was shown.
        """
        now = monotonic()
        due = self.due(True)
        if self._first is None:
            self._first = self._share(done)
        if due is None or now < due:
            return False
        self._show(done, failed, retried, now)
        return True

    def finish(self, done: float, failed: int = 0, retried: int = 0) -> None:
        """Show the last state and end the line."""
        if self._open:
            self._show(done, failed, retried, monotonic(), last=True)
        if self._terminal:
            _screen.remove(self)

    def _show(self, done: float, failed: int, retried: int, now: float, last: bool = False) -> None:
        self._drawn_at = now
        counts = []
        if failed:
            counts.append((f"{failed:,} failed", _RED))
        if retried:
            counts.append((f"{retried:,} retried", _YELLOW))
        parts = self._parts(done, now, last)
        if not self._terminal and self._notebook is None:
            texts = [part for part in parts if part] + [text for text, _ in counts]
            self._write(f"{self.label}: {', '.join(texts)}\n")
            return
        # After the last column, some terminals begin a new line.
        room = max(0, (80 if self._notebook is not None else self._columns()) - 1)
        text = self._line(parts, [text for text, _ in counts], room)
        if self._notebook is not None:
            self._open = self._notebook.show(text)
            return
        columns = _width(text)
        if self._colours and all(count in text for count, _ in counts):
            for count, colour in counts:
                before, _, after = text.rpartition(count)
                text = f"{before}{colour}{count}{_PLAIN}{after}"
        _screen.draw(self, text, columns, last)

    def _parts(self, done: float, now: float, last: bool) -> tuple[str, str, str, str]:
        """Return the count, the time so far, the time to the end, and the rate, as texts."""
        elapsed = now - self._began
        share = self._share(done)
        percent = floor(100 * share + 1e-9)
        count = f"{floor(done):,}/{self.total:,} {percent:3}%"
        gained = share - (self._first or 0.0)
        end = ("" if last or gained <= 0 or share >= 1
               else f"ETA {_clock(elapsed * (1 - share) / gained)}")
        return (count, f"{elapsed:.1f} s" if elapsed < 60 else _clock(elapsed), end,
                _rate(done, elapsed))

    def _share(self, done: float) -> float:
        return min(1.0, done / self.total) if self.total else 1.0

    def _line(self, parts: tuple[str, str, str, str], counts: list[str], room: int) -> str:
        """Return the label, the bar and the numbers; what matters less has to fit in."""
        count, elapsed, end, rate = parts
        label = _cut(self.label, max(8, room // 3))
        # If there is little room, the rate is left out, then the time so far, then the bar.
        choices: list[tuple[str, ...]] = [(count, elapsed, end, rate), (count, elapsed, end),
                                          (count, end), (count,)]
        for numbers in choices:
            tail = ", ".join([part for part in numbers if part] + counts)
            width = min(_WIDEST, room - _width(label) - len(tail) - 4)
            if width >= _NARROWEST:
                share = min(1.0, int(count[-4:-1]) / 100)
                filled = int(width * share)
                return f"{label} |{'#' * filled}{'.' * (width - filled)}| {tail}"
        for numbers in choices[2:]:
            tail = ", ".join([part for part in numbers if part] + counts)
            if _width(label) + 1 + len(tail) <= room:
                break
        return _cut(f"{label} {tail}", room, "")

    def _columns(self) -> int:
        """Return the width of the terminal of the stream; that of stdout may be another one."""
        return columns_of(self._stream, 80)

    # -- writing; for a terminal, the lock of the screen is held -----------------------------------

    def _write(self, text: str) -> None:
        if not self._open:
            return
        try:
            _screen.own_write(self._stream)(text)
            self._stream.flush()
        except UnicodeError:                # a label that the stream cannot encode
            self.label = self.label.encode("ascii", "replace").decode("ascii")
        except (OSError, ValueError):       # closed meanwhile, or a full disk: show no more
            self._open = False

    def draw(self, text: str | None = None, columns: int = 0) -> None:
        """Draw the bar, over itself; without a text, the last one. (lock held)"""
        if text is None:
            text, columns = self._text, _width(_plain(self._text))
        self._text = text
        # Blanks overwrite the rest of a longer line. They work on every terminal, unlike escapes.
        # In a window that has become narrower, they end with its line.
        room = max(columns, self._columns() - 1) if self._drawn > columns else columns
        self._write(f"\r{text}{' ' * (min(self._drawn, room) - columns)}")
        self._drawn = columns

    def clear(self) -> None:
        """Remove the bar from its line. (lock held)"""
        if self._drawn:
            blanks = min(self._drawn, self._columns() - 1)
            self._drawn = 0
            self._write(f"\r{' ' * blanks}\r")

    def end(self) -> None:
        """End the line of the bar. (lock held)"""
        if self._drawn:
            self._write("\n")
            self._drawn = 0


class _Screen:
    """The bars on terminals, of which the latest is shown, and the streams that write around it."""

    def __init__(self) -> None:
        self._lock = RLock()        # re-entrant: a signal handler may print while a bar is drawn
        self._bars: list[ProgressBar] = []
        #: By id, the streams whose write() is replaced: each with the replacement, its own, and
        #: True if its own was an attribute of the object.
        self._streams: dict[int, tuple[Any, Any, Callable[[Any], Any], bool]] = {}
        self._mid_line = False      # other output has left the cursor within a line
        register(self)

    def draw(self, bar: ProgressBar, text: str, columns: int, last: bool) -> None:
        """Draw a bar, unless a later one is shown, or other output has begun a line."""
        # A drawing of another thread is under way: the next drawing is soon enough.
        if not self._lock.acquire(last, _PATIENCE if last else -1):
            return
        try:
            if bar not in self._bars:
                self._bars.append(bar)
                self._replace_writes(bar._stream)
                if len(self._bars) > 1:
                    self._bars[-2].clear()
            if last:
                self._bars[-1].clear()
                if self._mid_line:
                    bar._write("\n")
                    self._mid_line = False
                bar.draw(text, columns)
            elif bar is self._bars[-1] and not self._mid_line:
                bar.draw(text, columns)
            else:
                bar._text = text
        finally:
            self._lock.release()

    def remove(self, bar: ProgressBar) -> None:
        """End the line of a bar; show an earlier one again."""
        locked = self._lock.acquire(timeout=_PATIENCE)
        try:
            bar.end()
            if bar in self._bars:
                self._bars.remove(bar)
            if self._bars:
                self._bars[-1].draw()
            else:
                self._restore_writes()
        finally:
            if locked:
                self._lock.release()

    def own_write(self, stream: Any) -> Any:
        """Return the method with which a stream writes by itself."""
        entry = self._streams.get(id(stream))
        return stream.write if entry is None else entry[2]

    def _replace_writes(self, stream: Any) -> None:
        others: tuple[Any, ...] = (stream, sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
        for other in others:
            if id(other) in self._streams or other is not stream and not _is_terminal(other):
                continue
            own = other.write
            replacement = self._write_around(other, own)
            try:
                overridden = "write" in vars(other)
                other.write = replacement
            except (AttributeError, TypeError):         # it has no attributes of its own
                continue
            self._streams[id(other)] = other, replacement, own, overridden

    def _restore_writes(self) -> None:
        for stream, replacement, own, overridden in list(self._streams.values()):
            # If other code has replaced it since, it may hold ours, which writes as before.
            if vars(stream).get("write") is replacement:
                if overridden:
                    stream.write = own
                else:
                    del stream.write
        self._streams.clear()
        self._mid_line = False

    def _write_around(self, stream: Any, own: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def write(text: Any) -> Any:
            if not self._bars or not self._lock.acquire(timeout=_PATIENCE):
                return own(text)
            try:
                bars = self._bars
                if not bars or not text or not isinstance(text, str):
                    return own(text)
                bars[-1].clear()
                self._mid_line = not text.endswith("\n")
                written = own(text)
                if not self._mid_line:
                    _flush(stream)          # before the bar, which another stream may write
                    bars[-1].draw()
                return written
            finally:
                self._lock.release()
        return write

    def _reset_after_fork(self) -> None:
        """Forget the bars: the threads that draw them are the parent's."""
        self._lock = RLock()
        self._bars.clear()
        self._restore_writes()


_screen = made_anew(_Screen)


def _flush(stream: Any) -> None:
    try:
        stream.flush()
    except (OSError, ValueError, AttributeError):       # the one that writes will see it, too
        pass


def _is_terminal(stream: Any) -> bool:
    try:
        return stream is not None and stream.isatty() is True
    except (OSError, ValueError, AttributeError):
        return False


def _has_colours() -> bool:
    """Return True if the terminal shows colours, and the user has nothing against them."""
    if os.environ.get("NO_COLOR"):
        return False
    term = os.environ.get("TERM", "")
    if os.name == "nt" and not term:
        return bool(os.environ.get("WT_SESSION") or os.environ.get("ANSICON"))
    return bool(term) and term != "unknown" and not term.startswith("vt") and term[-2:] != "-m"


class _Calls:
    """Passes the numbers on to a function of the application."""

    def __init__(self, function: Callable[[float, int, int], Any], total: int) -> None:
        self.total = total
        self._function: Callable[[float, int, int], Any] | None = function
        self._called_at: float | None = None
        self._last: tuple[float, int, int] | None = None

    def due(self, changed: bool) -> float | None:
        """Return when to call :meth:`update` next, by the monotonic clock; None for never."""
        if self._function is None or self._called_at is not None and not changed:
            return None
        return monotonic() if self._called_at is None else self._called_at + BAR_EVERY

    def update(self, done: float, failed: int = 0, retried: int = 0) -> bool:
        """Call the function, if the interval has passed since the last time."""
        due = self.due(True)
        now = monotonic()
        if due is None or now < due:
            return False
        self._called_at = now
        self._call(done, failed)
        return True

    def finish(self, done: float, failed: int = 0, retried: int = 0) -> None:
        """Call the function with the last state, unless it knows that."""
        self._call(done, failed)

    def _call(self, done: float, failed: int) -> None:
        function = self._function
        numbers = (int(done) if done == int(done) else done, self.total, failed)
        if function is None or numbers == self._last:
            return
        self._last = numbers
        try:
            function(*numbers)
        except Exception:
            self._function = None
            log.exception("the progress function %s raised and is not called again; "
                          "the tasks go on", name_of(function))


class _Notebook:
    """One line below the cell of a notebook."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str) -> bool:
        """Show the text in the place of the last one; return False if that is impossible."""
        try:
            data = {"text/plain": text}
            if self._handle is None:
                from IPython.display import display  # type: ignore[import-not-found]

                self._handle = display(data, raw=True, display_id=True)
            else:
                self._handle.update(data, raw=True)
        except Exception:
            return False
        return self._handle is not None


def _has_notebook() -> bool:
    """Return True in a notebook: in an IPython that has no terminal."""
    find = getattr(sys.modules.get("IPython"), "get_ipython", None)
    if find is None:
        return False
    try:
        return getattr(find(), "kernel", None) is not None
    except Exception:
        return False


# -- texts ---------------------------------------------------------------------------------------


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    return f"{hours // 24:,} d {hours % 24} h"


def _rate(done: float, elapsed: float) -> str:
    if elapsed <= 0 or done <= 0:
        return ""
    for unit, seconds in (("s", 1), ("min", 60)):
        rate = done / elapsed * seconds
        if rate >= 10:
            return f"{rate:,.0f}/{unit}"
        if rate >= 1:
            return f"{rate:.1f}/{unit}"
    return f"{done / elapsed * 3600:.1f}/h"


def _printable(text: str) -> str:
    """Return a text as one line, without characters that move the cursor."""
    return "".join(mark if mark.isprintable() else "?" for mark in " ".join(text.split()))


def _width(text: str) -> int:
    """Return the columns that a text occupies."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(mark) else 2 if east_asian_width(mark) in "WF" else 1
               for mark in text)


def _cut(text: str, width: int, ending: str = "...") -> str:
    if _width(text) <= width:
        return text
    while text and _width(text) > width - len(ending):
        text = text[:-1]
    return (text + ending)[:max(0, width)]


def _plain(text: str) -> str:
    for escape in (_RED, _YELLOW, _PLAIN):
        text = text.replace(escape, "")
    return text
