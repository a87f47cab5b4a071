"""A progress bar, and other output on its terminal."""
import io
import logging
import os
import subprocess
import sys
import threading

import pytest

from atasker_like import _progress as progress, background_task, wait_completed
from atasker_like._progress import ProgressBar
from tests.support import PATIENCE
from tests.support.internals.progress import DRAWING_PATIENCE, bars, forget_bars, screen_lock
from tests.unit.test_progress import Terminal, clock, columns

__all__ = ["clock", "columns"]

BAR = "files |" + "#" * 20 + "." * 20 + "| 1/2  50%, 0.0 s"


@pytest.fixture
def stream():
    """The terminal of the bar."""
    return Terminal()


@pytest.fixture
def bar(clock, stream):
    """A bar that is shown on a terminal, at one half."""
    bar = ProgressBar(2, "files", stream)
    bar.update(1)
    assert stream.shown() == [BAR]
    yield bar
    bar.finish(1)


def test_print_leaves_its_line_above_the_bar(bar, stream):
    print("to stderr", file=stream)
    print("in", "parts", file=stream)
    assert stream.shown() == ["to stderr", "in parts", BAR]


def test_print_to_the_stdout_of_the_terminal_removes_the_bar_of_its_stderr(clock, monkeypatch):
    errors, output, order = Terminal(), Terminal(), []
    monkeypatch.setattr(errors, "write", lambda text: order.append(text), raising=False)
    monkeypatch.setattr(output, "write", lambda text: order.append(text), raising=False)
    monkeypatch.setattr("sys.stderr", errors)
    monkeypatch.setattr("sys.stdout", output)
    bar = ProgressBar(2, "files")
    bar.update(1)
    print("to stdout")
    assert order == ["\r" + BAR, "\r" + " " * len(BAR) + "\r", "to stdout", "\n", "\r" + BAR]
    bar.finish(2)


def test_log_record_leaves_its_line_above_the_bar(bar, stream):
    handler = logging.StreamHandler(stream)
    handler.emit(logging.makeLogRecord({"msg": "a record"}))
    assert stream.shown() == ["a record", BAR]


def test_a_handler_that_took_the_stream_before_the_bar_writes_around_it(clock, monkeypatch):
    stream = Terminal()
    handler = logging.StreamHandler(stream)
    monkeypatch.setattr("sys.stderr", stream)
    bar = ProgressBar(2, "files")
    bar.update(1)
    handler.emit(logging.makeLogRecord({"msg": "two\nlines"}))
    assert stream.shown() == ["two", "lines", BAR]
    bar.finish(1)


def test_the_bar_waits_for_the_end_of_a_line(bar, stream, clock):
    print("a question? ", end="", file=stream)
    clock[0] += 1
    bar.update(1)
    assert stream.shown() == ["a question?"]
    print("an answer", file=stream)
    assert stream.shown()[:-1] == ["a question? an answer"]
    assert "1/2  50%" in stream.shown()[-1]


def test_the_last_state_gets_a_line_of_its_own(bar, stream):
    print("no end", end="", file=stream)
    bar.finish(2)
    lines = stream.shown()
    assert lines[0] == "no end" and "2/2 100%" in lines[1] and lines[2:] == [""]


def test_the_stream_has_its_own_write_again_after_the_bar(bar, stream):
    assert "write" in vars(stream)
    bar.finish(2)
    assert "write" not in vars(stream)
    print("after", file=stream)
    assert stream.shown()[1:] == ["after", ""]


def test_a_write_that_was_replaced_by_other_code_is_left_and_works(bar, stream):
    ours, seen = stream.write, []

    def write(text):
        seen.append(text)
        return ours(text)

    stream.write = write
    bar.finish(2)
    assert stream.write is write
    print("after", file=stream)
    assert seen == ["after", "\n"] and stream.shown()[1:] == ["after", ""]


def test_a_write_of_the_object_itself_is_restored(clock, monkeypatch):
    stream = Terminal()
    own = stream.write = stream.write
    monkeypatch.setattr("sys.stderr", stream)
    ProgressBar(2, "files").finish(2)
    assert stream.write is own


def test_a_stream_without_attributes_has_a_bar(clock):
    class Slotted:
        __slots__ = ("texts",)

        def __init__(self):
            self.texts = []

        def isatty(self):
            return True

        def write(self, text):
            self.texts.append(text)

        def flush(self):
            pass

    stream = Slotted()
    ProgressBar(2, "files", stream).finish(2)
    assert "2/2 100%" in "".join(stream.texts)


def test_output_that_is_no_terminal_is_not_touched(clock, stream, monkeypatch):
    class Piped(io.StringIO):
        """Has attributes of its own."""

    piped = Piped()
    monkeypatch.setattr("sys.stdout", piped)
    bar = ProgressBar(2, "files", stream)
    bar.update(1)
    print("piped")
    assert "write" not in vars(piped)
    assert piped.getvalue() == "piped\n" and stream.shown() == [BAR]
    bar.finish(2)


def test_writes_of_wrong_arguments_fail_as_before(bar, stream):
    with pytest.raises(TypeError):
        stream.write(b"bytes")
    assert stream.write("") == 0
    assert stream.shown() == [BAR]


def test_the_latest_of_two_bars_is_shown_and_then_the_earlier_one(bar, stream, clock):
    later = ProgressBar(9, "later", stream)
    later.update(3)
    clock[0] += 1
    bar.update(1)
    assert stream.shown()[-1].startswith("later |")
    later.finish(9)
    lines = stream.shown()
    assert "9/9 100%" in lines[0] and lines[1].startswith("files |")
    bar.finish(2)
    assert [line.split(" ")[0] for line in stream.shown()] == ["later", "files", ""]


def test_the_earlier_of_two_bars_may_end_first(bar, stream):
    later = ProgressBar(9, "later", stream)
    later.update(3)
    bar.finish(2)
    later.finish(9)
    assert [line.split(" ")[0] for line in stream.shown()] == ["files", "later", ""]


def test_a_write_goes_on_while_a_drawing_cannot_end(bar, stream, monkeypatch):
    DRAWING_PATIENCE.patch(monkeypatch, progress, 0.01)
    held, release = threading.Event(), threading.Event()

    def hold():
        with screen_lock():
            held.set()
            assert release.wait(PATIENCE)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(PATIENCE)
    try:
        print(" beside", file=stream)
        assert " beside\n" in stream.getvalue()
    finally:
        release.set()
        holder.join(PATIENCE)


def test_a_print_within_a_drawing_of_the_same_thread_goes_on(bar, stream, clock):
    flush = stream.flush

    def interrupted():
        stream.flush = flush
        print("from a signal handler", file=stream)

    stream.flush = interrupted
    clock[0] += 1
    bar.update(1)
    assert "from a signal handler\n" in stream.getvalue()
    assert "1/2  50%" in stream.shown()[-1]


def test_a_forked_child_has_no_bar(bar, stream):
    forget_bars()
    print("in the child", file=stream)
    assert "write" not in vars(stream)
    assert not bars()


def test_a_closed_terminal_ends_the_bar_and_only_its_own_writes_raise(clock, monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    bar = ProgressBar(2, "files")
    bar.update(1)
    stream.close()
    clock[0] += 1
    bar.update(1)
    with pytest.raises(ValueError):
        sys.stderr.write("closed")
    bar.finish(2)
    assert bar.due(True) is None


def test_a_pty_whose_other_end_is_closed_does_not_stop_the_work(monkeypatch):
    pty = pytest.importorskip("pty")
    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        pytest.skip(f"this system has no terminal to give: {error}")
    double = background_task(lambda number: 2 * number)
    with os.fdopen(theirs, "w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        os.close(ours)
        assert wait_completed([double(1), double(2)], progress=True) == [2, 4]
        monkeypatch.undo()
        try:
            stream.close()
        except OSError:         # what was left in its buffer
            pass


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device")
def test_a_full_disk_does_not_stop_the_work(monkeypatch):
    double = background_task(lambda number: 2 * number)
    stream = open("/dev/full", "w")
    try:
        monkeypatch.setattr("sys.stderr", stream)
        assert wait_completed([double(1), double(2)], progress=True) == [2, 4]
    finally:
        monkeypatch.undo()
        try:
            stream.close()
        except OSError:         # what was left in its buffer
            pass


@pytest.mark.gate
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device")
def test_a_program_whose_errors_go_to_a_full_disk_ends_well():
    code = ("from atasker_like import tmap\n"
            "print(tmap(abs, [-1, -2], progress=True))\n")
    with open("/dev/full", "w") as full:
        ended = subprocess.run([sys.executable, "-c", code], stderr=full, stdout=subprocess.PIPE,
                               timeout=PATIENCE)
    assert ended.stdout == b"(1, 2)\n"
