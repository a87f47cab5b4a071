"""What stats().display() and get_info().display() print."""
import io
import re
import threading

import pytest

from atasker_like import TT_MP, background_worker
from atasker_like._display import cut, duration
from tests.support import PATIENCE


@pytest.fixture
def busy(supervisor):
    """A supervisor with a task that runs, one that waits, and one that has ended."""
    begun, end = threading.Event(), threading.Event()

    def download():
        begun.set()
        end.wait(PATIENCE)

    supervisor.put_task(pow, (2, 3)).value(PATIENCE)
    supervisor.put_task(download)
    supervisor.put_task(pow, (2, 3), delay=60)
    assert begun.wait(PATIENCE)
    yield supervisor
    end.set()


def shown(thing):
    out = io.StringIO()
    thing.display(out)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("columns", [30, 50, 80])
def test_displays_are_no_wider_than_the_terminal(busy, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = shown(busy.stats()) + shown(busy.get_info())
    assert max(map(len, lines)) <= columns


def test_display_of_stats_has_a_column_for_each_pool(busy):
    lines = shown(busy.stats())
    assert lines[0].split() == ["thread", "coroutine"]
    rows = {line.rsplit(None, 2)[0].strip(): line.split()[-2:] for line in lines[1:]}
    assert rows["active"] == ["1", "0"] and rows["delayed"] == ["1", "0"]
    assert rows["submitted"] == ["3", "0"] and "retried" not in rows
    assert any(line.startswith("ran, median") and line.endswith(" -") for line in lines)


def test_display_of_info_has_the_state_and_the_tasks(busy):
    worker = background_worker(lambda: None, name="poll", interval=1000, supervisor=busy)
    worker.start()
    lines = shown(busy.get_info())
    assert re.match(rf"supervisor {busy.id}: running since \d{{4}}-\d\d-\d\d ", lines[0])
    assert any(re.match(r"threads +1 +\d+ +\+\d+ +\+\d+$", line) for line in lines)
    assert "workers: _background_worker_poll" in lines
    tasks = [line.split()[0] for line in lines[lines.index("") + 1:] if " t-" in line]
    assert tasks == ["busy.download", "pow"] or tasks == ["download", "pow"]
    worker.stop()


def test_display_of_stats_leaves_out_times_that_no_pool_has(supervisor):
    text = "\n".join(shown(supervisor.stats()))
    assert "submitted" in text and "waited" not in text and "ran" not in text


def test_display_of_info_has_the_whole_start_in_a_narrow_terminal(busy, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    lines = shown(busy.get_info())
    assert re.search(r" since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", " ".join(
        line.strip() for line in lines[:lines.index("")]))


@pytest.mark.slow
def test_display_of_info_has_the_process_pool(supervisor):
    supervisor.put_task(pow, (2, 3), tt=TT_MP).value(PATIENCE)
    assert any(line.startswith("processes") for line in shown(supervisor.get_info()))


@pytest.mark.parametrize("seconds, text", [
    (None, "-"), (0, "0 us"), (2.5e-6, "2 us"), (0.0015, "1.5 ms"), (0.25, "250 ms"),
    (1.234, "1.23 s"), (1234.5, "1,234 s")])
def test_duration_has_a_unit_that_suits_it(seconds, text):
    assert duration(seconds) == text


def test_cut_text_is_one_line_of_the_width():
    assert cut("one line", 8) == "one line"
    assert cut("two\nlines", 8) == "two l..."
    assert cut("text", 2) == ".."
