import io
import os
from unittest import mock

import pytest

from atasker_like import _progress as progress, background_task, wait_completed
from atasker_like._progress import BAR_EVERY, LINE_EVERY, ProgressBar
from tests.support.internals.progress import forget_bars


class Terminal(io.StringIO):
    """A terminal by its own word; its width is what COLUMNS says."""

    def isatty(self):
        return True

    def shown(self):
        """What a terminal would show: each line as its last drawing over the earlier ones left
        it."""
        lines = []
        for line in self.getvalue().split("\n"):
            cells = ""
            for drawing in line.split("\r"):
                cells = drawing + cells[len(drawing):]
            lines.append(cells.rstrip())
        return lines

    def drawings(self):
        return self.getvalue().count("\r")


class Broken(Terminal):
    """Goes away after a number of writes."""

    def __init__(self, good, error):
        super().__init__()
        self.good = good
        self.error = error
        self.tries = 0

    def write(self, text):
        self.tries += 1
        if self.tries > self.good:
            raise self.error
        return super().write(text)


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves by hand: clock[0] is the time."""
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


@pytest.fixture(autouse=True)
def columns(monkeypatch):
    """Sets the width of the terminal; 80 by default."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")

    def choose(number):
        monkeypatch.setenv("COLUMNS", str(number))

    choose(80)
    yield choose
    forget_bars()                               # bars that a test has not finished


# -- on a terminal ---------------------------------------------------------------------------------


def test_the_bar_is_there_at_once_and_ends_with_its_line(clock):
    stream = Terminal()
    bar = ProgressBar(4, "files", stream)
    bar.update(0)
    assert stream.shown() == ["files |" + "." * 40 + "| 0/4   0%, 0.0 s"]
    clock[0] += 2
    bar.finish(4)
    assert stream.shown() == ["files |" + "#" * 40 + "| 4/4 100%, 2.0 s, 2.0/s", ""]


def test_it_is_drawn_no_more_often_than_can_be_seen(clock):
    stream = Terminal()
    bar = ProgressBar(1000, stream=stream)
    bar.update(0)
    for done in range(500):
        clock[0] += BAR_EVERY / 1000
        bar.update(done)
    assert stream.drawings() == 1
    clock[0] += 2 * BAR_EVERY
    bar.update(500)
    assert stream.drawings() == 2


def test_failures_are_counted(clock):
    stream = Terminal()
    bar = ProgressBar(2000, stream=stream)
    clock[0] += 1
    bar.finish(2000, failed=1234)
    assert stream.shown()[0].endswith("2,000/2,000 100%, 1.0 s, 2,000/s, 1,234 failed")


def test_a_shorter_line_wipes_out_a_longer_one_without_escape_sequences(clock, columns):
    columns(200)
    stream = Terminal()
    bar = ProgressBar(10, stream=stream)
    bar.update(1, failed=1, retried=1234567)
    longer = stream.shown()[0]
    clock[0] += 2 * BAR_EVERY
    bar.update(2)
    assert len(stream.shown()[0]) < len(longer)
    assert "failed" in longer and "failed" not in stream.shown()[0]
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("width, shown", [
    (80, "backlog |#############....| 1,500/2,000  75%, 2.0 s, ETA 0:01, 750/s, 3 failed"),
    (65, "backlog |######..| 1,500/2,000  75%, 2.0 s, ETA 0:01, 3 failed"),
    (55, "backlog |####.| 1,500/2,000  75%, ETA 0:01, 3 failed"),
    (51, "backlog |########...| 1,500/2,000  75%, 3 failed"),
    (42, "backlog 1,500/2,000  75%, 3 failed"),
    (20, "backlog 1,500/2,000"),
    (1, ""),
])
def test_what_matters_less_goes_first_when_there_is_little_room(clock, columns, width, shown):
    columns(width)
    stream = Terminal()
    bar = ProgressBar(2000, "backlog", stream)
    bar.update(0)
    clock[0] += 2
    bar.update(1500, failed=3)
    drawn = stream.shown()[0]
    assert len(drawn) < width                   # the last column stays free
    assert drawn.replace("#", "").replace(".", "") == shown.replace("#", "").replace(".", "")
    if "|" in shown:
        assert abs(drawn.count("#") / (drawn.count("#") + drawn.split("|")[1].count("."))
                   - 0.75) < 0.1


@pytest.mark.parametrize("width", range(1, 121))
def test_no_width_is_ever_exceeded(clock, columns, width):
    columns(width)
    stream = Terminal()
    bar = ProgressBar(1234567, "a label of some length", stream)
    for done, failed in ((0, 0), (1234567, 98765), (3, 0)):
        clock[0] += 1
        bar.update(done, failed)
    assert all(len(drawing) < width or drawing == "" for drawing in stream.getvalue().split("\r"))


def test_the_width_is_that_of_the_stream_itself(clock, columns):
    pty = pytest.importorskip("pty")
    import fcntl
    import struct
    import termios

    columns(200)
    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        pytest.skip("this system has no terminal to give: %s" % error)
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
        with os.fdopen(theirs, "w", closefd=False) as stream:
            ProgressBar(10, "files", stream).update(5)
        drawn = os.read(ours, 1000).decode().strip("\r")
    finally:
        os.close(ours)
        os.close(theirs)
    assert 30 < len(drawn) < 40
    assert "5/10  50%" in drawn


def test_nothing_to_wait_for_is_all_of_it(clock):
    stream = Terminal()
    ProgressBar(0, stream=stream).finish(0)
    assert "0/0 100%" in stream.shown()[0]


# -- elsewhere -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dumb", [False, True])
def test_lines_where_there_is_no_terminal_or_a_dumb_one(clock, monkeypatch, dumb):
    stream = io.StringIO()
    if dumb:
        monkeypatch.setenv("TERM", "dumb")
        stream = Terminal()
    bar = ProgressBar(100, "files", stream)
    bar.update(0)
    clock[0] += LINE_EVERY / 2
    bar.update(10)
    assert stream.getvalue() == ""              # a short wait says how it ended, no more
    clock[0] += LINE_EVERY / 2
    bar.update(20)
    bar.update(21)
    clock[0] += 1
    bar.finish(100, 2)
    assert stream.getvalue() == ("files: 20/100  20%, 5.0 s, ETA 0:20, 4.0/s\n"
                                 "files: 100/100 100%, 6.0 s, 17/s, 2 failed\n")


def test_a_stream_that_can_only_write(clock):
    class Sink:
        text = ""

        def write(self, text):
            self.text += text

        def flush(self):
            pass

    sink = Sink()
    ProgressBar(1, "files", sink).finish(1)
    assert sink.text == "files: 1/1 100%, 0.0 s\n"


# -- nowhere ---------------------------------------------------------------------------------------


def test_bar_without_stderr_does_nothing(clock, monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    bar = ProgressBar(2)
    bar.update(1)
    clock[0] += 10
    bar.update(1)
    bar.finish(2)


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_a_closed_stream(clock, kind):
    stream = kind()
    stream.close()
    bar = ProgressBar(2, stream=stream)
    clock[0] += 10
    bar.update(1)
    bar.finish(2)


@pytest.mark.parametrize("error",
                         [BrokenPipeError(), OSError(5, "Input/output error"),
                          ValueError("closed")])
@pytest.mark.parametrize("good", [0, 1])
def test_a_stream_that_breaks_on_the_way_is_left_alone(clock, error, good):
    stream = Broken(good, error)
    bar = ProgressBar(9, stream=stream)
    for done in range(9):
        clock[0] += 1
        bar.update(done)
    bar.finish(9)
    assert stream.tries == good + 1


# -- in use ----------------------------------------------------------------------------------------


def test_wait_completed_shows_it_on_stderr(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    double = background_task(lambda number: 2 * number)
    assert wait_completed([double(number) for number in range(5)], progress=True) == [0, 2, 4, 6, 8]
    assert "| 5/5 100%" in stream.shown()[0]
    assert stream.getvalue().endswith("\n")


def test_wait_completed_goes_on_without_stderr(monkeypatch):
    monkeypatch.setattr("sys.stderr", Broken(0, BrokenPipeError()))
    assert wait_completed([background_task(abs)(-1)], progress=True) == [1]


def test_stream_that_answers_to_every_name_is_written_to():
    stream = mock.Mock()
    bar = ProgressBar(2, stream=stream)
    bar.finish(2)
    assert stream.write.called
