"""The command ``demo``, in processes of its own.

Nearly all of a run on a small tree is the delay that the demo shows: runs that need nobody to watch
them are made ahead.
"""
import ast
import json
import os
import pathlib
import platform
import re
import signal
import stat
import subprocess
import sys
import sysconfig
import threading
import time

import pytest

import atasker_like
from tests.support.scripts import without_late

from .demo_tree import counted, plant

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

ROOT = os.path.dirname(os.path.dirname(atasker_like.__file__))
RUN_LIMIT = 150
STARTING = threading.Lock()         # processes are started one after another

KEYS = {"path", "unlisted", "python", "seconds", "files", "lines", "definitions", "largest",
        "unparsable", "tasks",
        "pool_use", "waiting", "overtaking", "delay", "coroutine"}

ENVIRONMENTS = {
    "ascii": {"PYTHONIOENCODING": "ascii"}, "C": {"LC_ALL": "C"},
    "C, and meant": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "errors for warnings": {"PYTHONWARNINGS": "error"}, "developer's mode": {"PYTHONDEVMODE": "1"},
}
#: Streams that are closed, as a shell says it, and the status that the command ends with.
CLOSED = {"2>&-": 0, "<&-": 0, ">&-": 0, "<&- >&- 2>&-": 0, ">/dev/full": 1}
BUFFERING = {"buffered": "", "unbuffered": "1"}
COLUMNS = [40, 80, 132]


def finish(arguments, patience=RUN_LIMIT, **options):
    """Run a command from the checkout; return the finished process, or fail with the stacks of one
    that hangs."""
    options = dict({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": os.environ},
                   **options)
    options["env"] = dict(options["env"], PYTHONFAULTHANDLER="1")
    with STARTING:
        process = subprocess.Popen([str(argument) for argument in arguments], cwd=ROOT,
                                   universal_newlines=True,
                                   **options)
    with process:
        try:
            out, err = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            try:
                out, err = process.communicate(timeout=5)
            except subprocess.TimeoutExpired as expired:        # its pool processes live on
                out, err = expired.stdout, expired.stderr
            process.kill()
            pytest.fail(f"no end after {patience} s: {out!r} {err!s}")
    return subprocess.CompletedProcess(process.args, process.returncode, out,
                                       err and without_late(err))


def demo(*arguments, **options):
    """Run the command in a process of its own; return the finished process."""
    return finish([sys.executable, "-m", "atasker_like", "demo", *arguments], **options)


def said(done):
    """What a run that was told to say it in JSON has said."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def with_streams_closed(tree, closed, unbuffered):
    if "/dev/full" in closed and not os.path.exists("/dev/full"):
        pytest.skip("no such device")
    script = f'exec "$0" -m atasker_like demo --json "$1" {closed}'
    return finish(["sh", "-c", script, sys.executable, tree],
                  env=dict(os.environ, PYTHONUNBUFFERED=unbuffered))


def with_no_reader(tree, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return demo(tree, stdout=writer, env=dict(os.environ, PYTHONUNBUFFERED=unbuffered))
    finally:
        os.close(writer)


def in_environment(tree, name):
    return demo(tree, env=dict(os.environ, **ENVIRONMENTS[name]))


def on_terminal(columns, environment, *arguments):
    """Run the command on a terminal; return what it wrote there, and its status."""
    with OnTerminal(*arguments, columns=columns, **environment) as shown:
        return shown.read(), shown.process.wait(RUN_LIMIT)


def on_terminal_and_pipe(columns, *arguments):
    """Run the command with all but its stdout on a terminal; return what it wrote there, and to
    stdout, and its status."""
    with OnTerminal(*arguments, columns=columns, stdout=subprocess.PIPE) as shown:
        return shown.read(), shown.process.stdout.read().decode(), shown.process.wait(RUN_LIMIT)


def on_bad_path(name, folder):
    """Run the command on a path that it cannot index, as text and as JSON."""
    folder.mkdir()
    path = {make.__name__: make for make, _ in BAD_PATHS}[name](folder)
    try:
        return [demo(path, *options) for options in ([], ["--json"])]
    finally:
        folder.chmod(0o700)


class OnTerminal:
    """The command with its streams on a terminal, and what it has written there so far."""

    def __init__(self, *arguments, columns=80, stdout=None, **environment):
        pty = pytest.importorskip("pty")
        import fcntl
        import struct
        import termios

        try:
            self.number, theirs = pty.openpty()
        except OSError as error:
            pytest.skip(f"this system has no terminal to give: {error}")
        self.deadline = time.monotonic() + RUN_LIMIT
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environment = dict(os.environ,
                           **dict({"TERM": "xterm", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"},
                                  **environment))
        environment.pop("COLUMNS", None)
        # A test runner in the background of a script ignores SIGINT, and so would what it starts.
        script = ("import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
                  "import runpy; runpy.run_module('atasker_like', run_name='__main__', "
                  "alter_sys=True)")
        with STARTING:
            self.process = subprocess.Popen(
                [sys.executable, "-c", script, "demo", *map(str, arguments)], cwd=ROOT,
                env=environment,
                stdin=theirs, stdout=stdout or theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *details):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        os.close(self.number)

    def read(self, until=None):
        """Read up to something, or to the end; return the text so far."""
        import select

        while until is None or not re.search(until, self.data):
            assert select.select([self.number], [], [],
                                 self.deadline - time.monotonic())[0], self.data
            try:
                some = os.read(self.number, 65536)
            except OSError:         # how Linux says that nobody has the other end any more
                some = b""
            if not some:
                break
            self.data += some
        return self.data.decode("utf-8").replace("\r\n", "\n")


def bad_paths():
    def absent(folder):
        return folder / "absent"

    def below_a_file(folder):
        (folder / "file").write_text("x")
        return folder / "file" / "below"

    def broken_link(folder):
        (folder / "link").symlink_to(folder / "absent")
        return folder / "link"

    def link_to_itself(folder):
        (folder / "loop").symlink_to(folder / "loop")
        return folder / "loop"

    def empty_folder(folder):
        return folder

    def other_files(folder):
        (folder / "below").mkdir()
        (folder / "below" / "notes.txt").write_text("x")
        (folder / "folder.py").mkdir()
        return folder

    def named_pipe(folder):
        if not hasattr(os, "mkfifo"):
            pytest.skip("no named pipes here")
        os.mkfifo(str(folder / "pipe"))
        return folder / "pipe"

    def nothing_readable(folder):
        for name in ("a.py", "b.py"):
            (folder / name).symlink_to(folder / "absent")
        return folder

    def forbidden(folder):
        (folder / "a.py").write_text("x = 1")
        folder.chmod(0)
        if os.access(str(folder), os.R_OK):
            folder.chmod(0o700)
            pytest.skip("permissions do not bind this user")
        return folder

    def empty_name(folder):
        return ""

    def line_break(folder):
        return folder / "two\nlines"

    return [(absent, "does not exist"), (below_a_file, "does not exist"),
            (broken_link, "leads nowhere"),
            (link_to_itself, "cannot be reached"), (empty_folder, "no .py files"),
            (other_files, "no .py files"),
            (named_pipe, "neither a folder nor a regular file"),
            (nothing_readable, "can be read (the first of 2: "),
            (forbidden, "cannot be listed"), (empty_name, "does not exist"),
            (line_break, "does not exist")]


BAD_PATHS = bad_paths()


def made_ahead(items, folder):
    """All runs that need nobody to watch them: the name of each, and how it is made."""
    folder = pathlib.Path(folder)
    tree, gone, named = plant(folder / "tree"), plant(folder / "gone"), plant(folder / "named")
    (gone / "gone.py").symlink_to(gone / "absent")
    (named / "na\u00efve.py").write_text("class \u00c9t\u00e9:\n" + "    pass\n" * 50,
                                         encoding="utf-8")
    (folder / "link").symlink_to(tree, target_is_directory=True)
    yield "standard library", demo, "--json"
    yield "json", demo, gone, "--json"
    yield "text", demo, tree
    for file in ("python", "bad.py"):
        yield file, demo, tree / file
        yield file + " --json", demo, tree / file, "--json"
    yield "relative", demo, os.path.relpath(str(folder / "link"), ROOT), "--json"
    for name in ENVIRONMENTS:
        yield name, in_environment, named, name
    for make, _ in BAD_PATHS:
        yield make.__name__, on_bad_path, make.__name__, folder / make.__name__
    if os.name != "posix":
        return
    for name, unbuffered in BUFFERING.items():
        for closed in CLOSED:
            yield (closed, name), with_streams_closed, tree, closed, unbuffered
        yield ("no reader", name), with_no_reader, tree, unbuffered
    for columns in COLUMNS:
        yield columns, on_terminal, columns, {}, tree
    yield "dumb", on_terminal, 80, {"TERM": "dumb"}, tree
    yield "bar", on_terminal_and_pipe, 40, tree, "--json"


def test_json(ahead):
    files, lines, functions, classes, bad = counted()
    data = said(ahead("json"))
    tree = pathlib.Path(data["path"])
    assert tree.name == "gone" and tree.is_absolute()
    assert KEYS <= set(data)
    assert (data["files"], data["lines"]) == (files + 1, lines)
    assert data["definitions"] == {"functions": functions, "classes": classes}
    assert data["largest"] == {"path": str(tree / "package" / "deep" / "nested.py"), "lines": 23}
    assert data["python"] == platform.python_version()

    assert [entry["path"] for entry in data["unparsable"]] == [
        str(tree / name) for name in ("bad.py", "encoding.py", "gone.py", "null.py")]
    reasons = {os.path.basename(entry["path"]): entry["error"] for entry in data["unparsable"]}
    assert reasons["gone.py"].startswith("FileNotFoundError: ")
    assert re.match(r"SyntaxError: .*\(line 1\)$", reasons["bad.py"])
    assert re.match(r"(SyntaxError|ValueError): .*null", reasons["null.py"])

    backlog = data["overtaking"]["backlog"]
    # Each file is read, and parsed if it was; then come the backlog, HIGH, the delayed one and the
    # coroutine's.
    assert data["tasks"] == {"succeeded": files + (files - bad) + backlog + 3, "failed": bad + 1,
                             "cancelled": 0}
    assert 0 <= data["overtaking"]["overtaken"] <= backlog
    for name in ("high_wait", "low_median_wait", "low_last_wait"):
        assert 0 <= data["overtaking"][name] < data["seconds"]
    assert data["overtaking"]["low_median_wait"] <= data["overtaking"]["low_last_wait"]

    assert 0.49 < data["delay"]["asked"] <= data["delay"]["actual"] + 0.01
    assert 0 <= data["delay"]["files"] <= data["files"]
    assert data["coroutine"]["path"] == str(tree / "package" / "deep" / "nested.py")
    assert data["coroutine"]["definitions"] == 12
    assert data["coroutine"]["longest"] == {"name": "coroutine", "line": 8, "lines": 16}

    assert set(data["waiting"]) == {"p50", "p99", "threads", "processes"}
    for spread in (data["waiting"], data["waiting"]["threads"], data["waiting"]["processes"]):
        assert 0 <= spread["p50"] <= spread["p99"] < data["seconds"]
    use = data["pool_use"]
    for pool in ("threads", "processes"):
        assert 0 < use[pool]["mean"] <= use[pool]["slots"]
        assert len(use[pool]["used"]) == int(data["seconds"] / use["interval"]) + 1
        # The slot of a task that fails goes on to the next task before the failed one is final.
        most = use[pool]["slots"] + bad + 1 + 0.01
        assert all(0 <= used <= most for used in use[pool]["used"])


def test_text(ahead):
    done = ahead("text")
    assert done.returncode == 0
    files, lines, functions, classes, bad = counted()
    assert (f"\nfiles        {files}, {bad} of them not parsed\nlines        "
            f"{lines}\n" in done.stdout)
    assert f"\ndefinitions  {functions} functions, {classes} classes\n" in done.stdout
    assert "\nlargest      package/deep/nested.py, 23 lines\n" in done.stdout
    for name in ("bad.py", "encoding.py", "null.py"):
        assert f"\n  {name}: " in done.stdout
    # A slow machine has lines between, one every few seconds.
    assert re.fullmatch(r"(files: .*\n)*files: 13/13 100%, .*, 3 failed\n"
                        r"(backlog: .*\n)*backlog: 200/200 100%, .*\n", done.stderr)


def test_demo_of_one_file_counts_it(ahead):
    data = said(ahead("python --json"))                 # whatever its name
    assert (data["files"], data["lines"], data["definitions"]) == (1, 1,
                                                                   {"functions": 1, "classes": 0})
    assert "\nlargest      python, 1 line\n" in ahead("python").stdout


def test_one_file_that_does_not_parse(ahead):
    data = said(ahead("bad.py --json"))
    assert (data["files"], data["lines"], len(data["unparsable"])) == (1, 2, 1)
    assert data["coroutine"] is None
    assert "1, not parsed" in ahead("bad.py").stdout


def test_a_relative_path_and_a_link_to_a_folder(ahead):
    data = said(ahead("relative"))
    assert data["files"] == counted()[0]
    assert not os.path.isabs(data["largest"]["path"])


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_demo_runs_in_other_environments(ahead, name):
    done = ahead(name)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 2                 # no warning of the compiler among them
    assert "ve.py, 51 lines" in done.stdout
    if name == "ascii":
        assert "na\\xefve.py" in done.stdout
        assert all(ord(mark) < 128 for mark in done.stdout)


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes streams")
@pytest.mark.parametrize("buffering", BUFFERING)
@pytest.mark.parametrize("closed", CLOSED)
def test_demo_with_a_closed_stream_ends_in_order(ahead, closed, buffering):
    done = ahead((closed, buffering))
    assert done.returncode == CLOSED[closed]
    if closed in ("2>&-", "<&-"):
        assert json.loads(done.stdout)["files"] == counted()[0]
    else:
        assert done.stdout == ""
    if CLOSED[closed]:
        assert done.stderr.splitlines()[-1].startswith("python -m atasker_like demo: ")
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="pipes break in another way elsewhere")
@pytest.mark.parametrize("buffering", BUFFERING)
def test_a_reader_that_goes_away(ahead, buffering):
    done = ahead(("no reader", buffering))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "Error" not in done.stderr


@pytest.mark.parametrize("make, why", BAD_PATHS, ids=[make.__name__ for make, _ in BAD_PATHS])
def test_a_bad_path_is_one_line_and_status_2(ahead, make, why):
    for done in ahead(make.__name__):
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1 and done.stderr.endswith("\n")
        assert done.stderr.startswith("python -m atasker_like demo: ")
        assert why in done.stderr
        assert "leave PATH out" in done.stderr


# -- on a terminal ---------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="no terminals of that kind")
@pytest.mark.parametrize("columns", COLUMNS)
def test_a_terminal_of_a_width(ahead, columns):
    text, status = ahead(columns)
    assert status == 0
    assert "files |#" in text and "backlog |#" in text
    assert "\x1b" not in text
    assert max(len(line) for line in re.split("[\r\n]", text)) < columns
    assert f"\nlines        {counted()[1]}\n" in text
    assert "\u2581" in text


@pytest.mark.skipif(os.name != "posix", reason="no terminals of that kind")
def test_a_dumb_terminal(ahead):
    text, status = ahead("dumb")
    assert status == 0
    assert "\r" not in text and "\x1b" not in text
    assert re.search("^files: 13/13 100%, ", text, re.M)


@pytest.mark.skipif(os.name != "posix", reason="no terminals of that kind")
def test_the_bar_fits_its_own_terminal_when_stdout_is_a_pipe(ahead):
    text, out, status = ahead("bar")
    assert status == 0
    assert json.loads(out)["files"] == counted()[0]
    assert "files |#" in text
    assert max(len(line) for line in re.split("[\r\n]", text)) < 40


@pytest.mark.skipif(os.name != "posix", reason="no terminals of that kind")
def test_demo_interrupted_by_ctrl_c_ends_in_order():
    with OnTerminal("--json", stdout=subprocess.PIPE) as shown:
        # some hundred files are done: all processes are at work
        shown.read(until=br"\b[3-9]\d\d/")
        # as the terminal does it: to all of them
        os.killpg(shown.process.pid, signal.SIGINT)
        text = shown.read()
        assert shown.process.stdout.read() == b""
        assert shown.process.wait(RUN_LIMIT) == 130
    bar, line, rest = text.split("\n")
    assert (line, rest) == ("python -m atasker_like demo: interrupted", "")


# -- real files ------------------------------------------------------------------------------------


def test_a_real_package_against_another_way_of_counting():
    root = os.path.join(sysconfig.get_path("stdlib"), "asyncio")
    files = lines = functions = classes = 0
    for folder, _, names in os.walk(root):
        for name in names:
            if name.endswith(".py"):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    text = file.read()
                nodes = list(ast.walk(ast.parse(text)))
                files += 1
                lines += text.count("\n") + (not text.endswith("\n") and text != "")
                functions += sum(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
                                 for node in nodes)
                classes += sum(isinstance(node, ast.ClassDef) for node in nodes)
    data = said(demo(root, "--json"))
    assert (data["files"], data["lines"]) == (files, lines)
    assert data["definitions"] == {"functions": functions, "classes": classes}
    assert data["unparsable"] == []


def test_the_standard_library(ahead):
    root = sysconfig.get_path("stdlib")
    expected = {os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names
                if name.endswith(".py")
                and not {"site-packages", "dist-packages"} & set(folder.split(os.sep))}
    done = ahead("standard library")
    data = said(done)
    assert KEYS <= set(data)
    assert data["files"] == len(expected)
    assert data["lines"] > 100 * len(expected)
    assert data["largest"]["path"] in expected
    assert {entry["path"] for entry in data["unparsable"]} < expected
    assert data["tasks"]["failed"] == len(data["unparsable"]) < 50
    assert not any(stat.S_ISDIR(os.stat(entry["path"]).st_mode) for entry in data["unparsable"])
    assert "Warning" not in done.stderr and "Traceback" not in done.stderr
