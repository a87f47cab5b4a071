"""Programs written for atasker print here what they print on atasker 0.7.9.

``docs/howto/migrate_atasker.rst`` names the lines that differ.

Each program in ``programs`` prints facts, a line each: a name, a colon and a value. The names in
the first column of the tables in that page are those of the facts that may differ. A fact that
no longer differs is to be taken out there.

``ATASKER_PYTHON`` names an interpreter of Python 3.8 that has atasker 0.7.9: ``.ci/run`` makes one.
"""
import difflib
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import atasker_like
from tests.support import PROGRAM_PATIENCE

ROOT = Path(atasker_like.__file__).parent.parent
FOLDER = Path(__file__).parent / "programs"
MODULES = {"facts", "process_worker", "remote"}     # what programs import
PROGRAMS = sorted(path for path in FOLDER.glob("*.py") if path.stem not in MODULES)


#: Differences that no program can show, and why.
NOT_SHOWN = {
    "Python 3.9 and later": "atasker does not run there",
    "a generator function as a task": "the difference is a line in the log",
    "a result that a worker gets from a process at once": "it is a race in atasker",
}


# -- what may differ -------------------------------------------------------------------------------


def named_differences(text):
    """Return the first cells of the tables that compare atasker with this library."""
    tables = text.split(".. list-table::")[1:]
    cells = []
    for table in tables:
        rows = re.split(r"^   \* - ", table, flags=re.MULTILINE)[2:]
        cells += [" ".join(re.split(r"^     - ", row, flags=re.MULTILINE)[0].split())
                  for row in rows]
    return [cell.replace("``", "") for cell in cells]


DIFFERENCES = named_differences(
    (ROOT / "docs" / "howto" / "migrate_atasker.rst").read_text(encoding="utf-8"))


def facts(output):
    """Return the lines of a program's output as pairs of name and value."""
    return [line.partition(": ")[::2] for line in output.splitlines()]


def unnamed(there, here, names):
    """Return the lines that differ and that may not; "-" is atasker's, "+" is ours."""
    def kept(output):
        return [f"{name}: {value}" for name, value in facts(output) if name not in names]

    return [line for line in difflib.unified_diff(kept(there), kept(here), lineterm="", n=0)
            if not line.startswith(("---", "+++", "@@"))]


def test_names_of_differences_are_read_from_the_page():
    assert "an exception in a task" in DIFFERENCES
    assert "task.id" in DIFFERENCES
    assert "what" not in DIFFERENCES
    assert len(DIFFERENCES) == len(set(DIFFERENCES))
    assert set(NOT_SHOWN) <= set(DIFFERENCES)


def test_lines_that_are_not_named_are_compared():
    there = "a: 1\nb: 2\ntask.id: x\nc: 3\n"
    assert unnamed(there, there, ["task.id"]) == []
    assert unnamed(there, "a: 1\nb: 2\ntask.id: y\nc: 3\n", ["task.id"]) == []
    assert unnamed(there, "a: 1\nb: 2\nc: 3\n", ["task.id"]) == []
    assert unnamed(there, "a: 1\nb: 5\ntask.id: x\nc: 3\n", ["task.id"]) == ["-b: 2", "+b: 5"]
    assert unnamed(there, "a: 1\nb: 2\ntask.id: x\n", ["task.id"]) == ["-c: 3"]
    assert unnamed(there, there + "d: 4\n", ["task.id"]) == ["+d: 4"]


# -- running programs ------------------------------------------------------------------------------


def run(command, folder, environment):
    """Run a program; return its output, with the exit status as the last fact, and the end of what
    it wrote to stderr."""
    # In a session of its own, so that nothing of it is left: atasker leaves the processes of its
    # pools.
    process = subprocess.Popen(command, cwd=str(folder), env=environment, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE,
                               stdin=subprocess.DEVNULL, universal_newlines=True,
                               start_new_session=True)
    read = {}

    def reader(name, stream):
        with stream:
            read[name] = stream.read()

    threads = [threading.Thread(target=reader, args=pair)
               for pair in (("out", process.stdout), ("err", process.stderr))]
    for thread in threads:
        thread.start()
    try:
        status = process.wait(PROGRAM_PATIENCE)
    except subprocess.TimeoutExpired:
        status = f"none: it did not end in {PROGRAM_PATIENCE} s"
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        for thread in threads:
            thread.join()
    return f"{read['out']}exit status: {status}\n", read["err"][-3000:]


def in_the_background(results, name, *arguments):
    thread = threading.Thread(target=lambda: results.update({name: run(*arguments)}))
    thread.start()
    return thread


@pytest.fixture(scope="session")
def reference():
    """The command of an interpreter that has atasker."""
    python = os.environ.get("ATASKER_PYTHON")
    if not python:
        pytest.fail("ATASKER_PYTHON must name an interpreter of Python 3.8 that has atasker 0.7.9: "
                    "python3.8 -m venv FOLDER; FOLDER/bin/pip install atasker==0.7.9")
    found = subprocess.run([python, "-c",
                            "import sys, atasker; print(sys.version_info[:2], "
                            "atasker.__version__)"],
                           stdout=subprocess.PIPE, universal_newlines=True, check=True,
                           timeout=PROGRAM_PATIENCE).stdout
    assert found == "(3, 8) 0.7.9\n"
    return python


#: What the programs have printed: name -> (on atasker, here).
printed = {}


@pytest.mark.gate
@pytest.mark.slow
@pytest.mark.timeout(3 * PROGRAM_PATIENCE)
@pytest.mark.parametrize("path", PROGRAMS, ids=[path.stem for path in PROGRAMS])
def test_program_prints_what_it_prints_on_atasker(path, reference, tmp_path):
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    plain["PYTHONDONTWRITEBYTECODE"] = "1"
    results = {}
    threads = [
        in_the_background(results, "there", [reference, str(path)], tmp_path, plain),
        in_the_background(results, "here",
                          [sys.executable, "-m", "atasker_like", "exec", str(path)], tmp_path,
                          dict(plain, PYTHONPATH=str(ROOT))),
    ]
    for thread in threads:
        thread.join()
    (there, there_err), (here, here_err) = results["there"], results["here"]
    printed[path.stem] = there, here
    differing = unnamed(there, here, DIFFERENCES)
    assert not differing, "\n".join([
        f"{path.name} prints lines that differ, and docs/howto/migrate_atasker.rst does not name "
        "them (- atasker, + here):",
        *differing, "", "atasker's stderr ends:", there_err, "", "stderr here ends:", here_err])


@pytest.mark.gate
def test_every_difference_that_is_named_is_one():
    if len(printed) < len(PROGRAMS):
        pytest.skip("not all programs have been run")
    seen = set()
    for there, here in printed.values():
        mine = dict(facts(here))
        seen |= {name for name, value in facts(there) if mine.get(name) != value}
    stale = [name for name in DIFFERENCES if name not in seen and name not in NOT_SHOWN]
    assert not stale, ("docs/howto/migrate_atasker.rst names differences that no program shows: "
                       + "; ".join(stale))
