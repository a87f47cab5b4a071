"""The parts of a progress bar: the time to the end, counts, colours, the description, a
notebook."""
import io
import sys
from types import ModuleType, SimpleNamespace

import pytest

from atasker_like._progress import ProgressBar
from tests.support.internals.progress import columns_of, draw_next, plain, stream_of
from tests.unit.test_progress import Terminal, clock, columns

__all__ = ["clock", "columns"]


def shown(bar, *numbers, last=True):
    draw_next(bar)
    (bar.finish if last else bar.update)(*numbers)
    return stream_of(bar).shown()[-2 if last else -1]


# -- the time to the end ---------------------------------------------------------------------------


@pytest.mark.parametrize("seconds, text", [
    (10, "ETA 0:30"), (100, "ETA 5:00"), (3600, "ETA 3:00:00"), (40 * 3600, "ETA 5 d 0 h")])
def test_eta_follows_the_rate_until_now(clock, seconds, text):
    bar = ProgressBar(4, stream=Terminal())
    bar.update(0)
    clock[0] += seconds
    assert text in shown(bar, 1, last=False)


def test_eta_does_not_count_what_had_ended_before(clock):
    bar = ProgressBar(100, stream=Terminal())
    bar.update(90)
    clock[0] += 10
    assert "ETA 0:10" in shown(bar, 95, last=False)


def test_eta_of_lines_counts_from_the_first_update(clock):
    stream = io.StringIO()
    bar = ProgressBar(10, "files", stream)
    bar.update(0)
    clock[0] += 5
    bar.update(5)
    assert stream.getvalue() == "files: 5/10  50%, 5.0 s, ETA 0:05, 1.0/s\n"


@pytest.mark.parametrize("done", [0, 4])
def test_eta_is_left_out_without_a_rate_and_at_the_end(clock, done):
    bar = ProgressBar(4, stream=Terminal())
    bar.update(0)
    clock[0] += 1
    assert "ETA" not in shown(bar, done, last=False)


@pytest.mark.parametrize("done, seconds, rate", [
    (2000, 2, "1,000/s"), (3, 2, "1.5/s"), (1, 4, "15/min"), (1, 40, "1.5/min"),
    (1, 1800, "2.0/h")])
def test_rate_has_a_unit_in_which_it_can_be_read(clock, done, seconds, rate):
    bar = ProgressBar(done, stream=Terminal())
    clock[0] += seconds
    assert shown(bar, done).endswith(f", {rate}")


def test_a_task_that_is_nearly_done_does_not_make_the_bar_complete(clock):
    bar = ProgressBar(1000, stream=Terminal())
    assert "999/1,000  99%" in shown(bar, 999.99)


# -- counts and colours ----------------------------------------------------------------------------


def test_failed_and_retried_tasks_are_counted(clock):
    assert shown(ProgressBar(9, stream=Terminal()), 9, 2, 5).endswith(", 2 failed, 5 retried")


def test_counts_have_colours_on_a_terminal_and_the_width_ignores_them(clock, columns, monkeypatch):
    monkeypatch.delenv("NO_COLOR")
    columns(50)
    bar = ProgressBar(9, stream=Terminal())
    line = shown(bar, 9, 2, 5)
    assert line.endswith(", \x1b[31m2 failed\x1b[0m, \x1b[33m5 retried\x1b[0m")
    assert len(plain(line)) == 49


@pytest.mark.parametrize("name, value", [
    ("NO_COLOR", "1"), ("TERM", "vt100"), ("TERM", "unknown"), ("TERM", "xterm-m"), ("TERM", "")])
def test_no_colours_if_the_user_or_the_terminal_has_none(clock, monkeypatch, name, value):
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv(name, value)
    bar = ProgressBar(9, stream=Terminal())
    shown(bar, 9, 2, 5)
    assert "\x1b" not in stream_of(bar).getvalue()


def test_an_empty_no_color_does_not_count(clock, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "")
    assert "\x1b[31m" in shown(ProgressBar(9, stream=Terminal()), 9, 2)


def test_lines_in_a_log_have_no_colours(clock, monkeypatch):
    monkeypatch.delenv("NO_COLOR")
    stream = io.StringIO()
    ProgressBar(9, "files", stream).finish(9, 2, 5)
    assert stream.getvalue() == "files: 9/9 100%, 0.0 s, 2 failed, 5 retried\n"


# -- the description -------------------------------------------------------------------------------


@pytest.mark.parametrize("given, label", [
    ("two\nlines\tof  text", "two lines of text"), ("\x1b[2Jclear", "?[2Jclear"), ("", "")])
def test_description_is_one_printable_line(given, label):
    assert ProgressBar(1, given, Terminal()).label == label


def test_a_long_description_leaves_room_for_the_numbers(clock, columns):
    columns(50)
    line = shown(ProgressBar(10, "a description of very many words", Terminal()), 10)
    assert line == "a description... |############| 10/10 100%, 0.0 s"


@pytest.mark.parametrize("width", range(3, 100))
def test_wide_characters_count_twice(clock, columns, width):
    columns(width)
    bar = ProgressBar(10, "\u4e0b\u8f7d\u6587\u4ef6\u4e2d e\u0301", Terminal())
    line = shown(bar, 10, 1, 1)
    assert columns_of(line) < max(width, 2)


def test_a_description_that_the_stream_cannot_encode_is_replaced(clock):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    bar = ProgressBar(2, "\u4e0b", stream)
    bar.update(0)
    for _ in range(2):
        clock[0] += 5
        bar.update(1)
    assert raw.getvalue() == b"?: 1/2  50%, 10.0 s, ETA 0:10, 6.0/min\n"


# -- a notebook ------------------------------------------------------------------------------------


class Notebook:
    """What a cell of a notebook shows, and IPython's part in it."""

    def __init__(self):
        self.outputs = []
        self.error = None

    def display(self, data, raw, display_id):
        if self.error:
            raise self.error
        self.outputs.append([data["text/plain"]])
        return SimpleNamespace(update=self.update)

    def update(self, data, raw):
        if self.error:
            raise self.error
        self.outputs[-1].append(data["text/plain"])


@pytest.fixture
def notebook(monkeypatch):
    found = Notebook()
    package, module = ModuleType("IPython"), ModuleType("IPython.display")
    package.get_ipython = lambda: SimpleNamespace(kernel=object())
    module.display = found.display
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return found


def test_a_notebook_shows_one_line_that_is_updated(clock, notebook, monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    bar = ProgressBar(4, "cells")
    bar.update(0)
    clock[0] += 2
    bar.update(2, 1)
    bar.finish(4, 1)
    [states] = notebook.outputs
    assert states[0] == "cells |" + "." * 40 + "| 0/4   0%, 0.0 s"
    assert states[1].endswith("| 2/4  50%, 2.0 s, ETA 0:02, 1.0/s, 1 failed")
    assert states[2].endswith("| 4/4 100%, 2.0 s, 2.0/s, 1 failed")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("drawn", [False, True])
def test_a_notebook_that_breaks_is_left_alone(clock, notebook, drawn):
    bar = ProgressBar(4)
    if drawn:
        bar.update(0)
    notebook.error = RuntimeError("the kernel is being restarted")
    clock[0] += 2
    bar.update(2)
    assert bar.due(True) is None
    bar.finish(4)


def test_ipython_in_a_terminal_has_a_bar(clock, notebook, monkeypatch):
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: SimpleNamespace())
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    ProgressBar(4).finish(4)
    assert "4/4 100%" in stream.getvalue() and not notebook.outputs
