"""The programs of the tutorial print what its pages show."""
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading

import pytest

from tests.support import PROGRAM_PATIENCE, ROOT

DOCS = pathlib.Path(ROOT) / "docs"
EXAMPLES = DOCS / "examples"
LESSONS = EXAMPLES / "tutorial"

pytestmark = pytest.mark.gate


def shown(page):
    """Return the program and the output that a page of the tutorial shows."""
    text = (DOCS / "tutorial" / page).read_text(encoding="utf-8")
    block = re.search(r"^   \$ python3 (\w+\.py)[^\n]*\n((?:   [^\n]*\n)+)", text, re.MULTILINE)
    return block.group(1), [line.strip() for line in block.group(2).splitlines()]


def started(program, *arguments):
    return subprocess.Popen(
        [sys.executable, str(program), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        universal_newlines=True, cwd=str(LESSONS),
        env=dict(os.environ, PYTHONPATH=str(ROOT), PYTHONDONTWRITEBYTECODE="1"))


def output(program, *arguments):
    with started(program, *arguments) as process:
        try:
            lines, errors = process.communicate(timeout=PROGRAM_PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    return lines.splitlines()


def test_the_program_of_the_index_prints_what_the_index_says():
    lines = output(EXAMPLES / "first.py")
    text = (DOCS / "index.rst").read_text(encoding="utf-8")
    assert re.findall(r"prints ``(.+?)`` and then ``(.+?)``", text) == [tuple(lines)]


@pytest.mark.parametrize("page", ["tasks.rst", "processes.rst"])
def test_a_lesson_prints_what_its_page_shows(page):
    program, lines = shown(page)
    assert output(LESSONS / program, "texts") == lines


def test_the_batch_skips_after_a_second_start_what_has_succeeded(tmp_path):
    program, lines = shown("batch.rst")
    checkpoint = str(tmp_path / "words.checkpoint")
    assert output(LESSONS / program, "texts", checkpoint) == lines
    assert output(LESSONS / program, "texts", checkpoint) == lines


@pytest.mark.skipif(os.name != "posix", reason="SIGTERM")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_service_stops_in_order(signum):
    program, lines = shown("service.rst")
    with started(LESSONS / program, "texts") as process:
        watchdog = threading.Timer(PROGRAM_PATIENCE, process.kill)
        watchdog.start()
        try:
            first = [process.stdout.readline().strip() for _ in lines[:-1]]
            process.send_signal(signum)
            rest, errors = process.communicate()
        finally:
            watchdog.cancel()
            watchdog.join()
    assert (process.returncode, first + rest.splitlines()) == (0, lines), errors
