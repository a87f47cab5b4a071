"""The progress bar, and the report of the demo."""
from atasker_like import _progress
from atasker_like.demo import report, run

from .replaced import Replaced

#: Seconds that a write waits for a drawing.
DRAWING_PATIENCE = Replaced("_PATIENCE")


def stream_of(bar):
    """Return the stream that a bar is drawn on."""
    return bar._stream


def draw_next(bar):
    """Have the next update of a bar drawn, however soon it comes."""
    bar._drawn_at = None


def forget_bars():
    """Forget all bars, as a forked child does."""
    _progress._screen._reset_after_fork()


def bars():
    """Return the bars that are shown."""
    return _progress._screen._bars


def screen_lock():
    """Return the lock that a drawing holds."""
    return _progress._screen._lock


def plain(line):
    """Return a line without its colours."""
    return _progress._plain(line)


def columns_of(line):
    """Return the columns that a line takes."""
    return _progress._width(line)


def progress_calls(function, interval):
    """Return the calls of a function that an application has given as progress."""
    return _progress._Calls(function, interval)


def set_called_at(calls, seconds):
    calls._called_at = seconds


# -- the demo --------------------------------------------------------------------------------------

#: The number of files that the report names.
NAMED = report._NAMED

#: The characters of a chart where there are no colours.
PLAIN = report._PLAIN

#: Yields the tasks of calls as they end, a limited number at a time.
as_they_end = run._as_they_end


def report_text(width, cut, root):
    """Return what writes the report of the demo."""
    return report._Text(width, cut, report._PLAIN, root)


def chart(*arguments):
    """Return a chart of the report, of 79 columns."""
    return report._Text(79, True, report._PLAIN, "/")._chart(*arguments)
