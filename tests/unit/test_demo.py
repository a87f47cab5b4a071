import ast
import io
import json
import os
import platform
import re
import signal
import stat
import subprocess
import sys
import sysconfig
import time
import warnings
from types import SimpleNamespace

import pytest

import atasker_like
from atasker_like import TaskCancelledError, background_task
from atasker_like.demo import report, run, source
from atasker_like.demo.measure import PROCESSES, THREADS, PoolUse, Tally, Waiting, describe

ROOT = os.path.dirname(os.path.dirname(atasker_like.__file__))
PATIENCE = 50

KEYS = {"path", "unlisted", "python", "seconds", "files", "lines", "definitions", "largest", "unparsable", "tasks",
        "pool_use", "waiting", "overtaking", "delay", "coroutine"}

#: What a small tree holds: paths, texts, and the lines, functions and classes that are counted in them; None for
#: those that do not parse.
TREE = [
    ("plain.py", "def one():\n    pass\n", (2, 1, 0)),
    ("unended.py", "x = 1\ny = 2", (2, 0, 0)),
    ("dos.py", "def one():\r\n    pass\r\n\r\n", (3, 1, 0)),
    ("empty.py", "", (0, 0, 0)),
    ("package/__init__.py", "", (0, 0, 0)),
    ("package/deep/nested.py", """\
class Outer:
    class Inner:
        def method(self):
            def closure():
                return lambda: None
            return closure

    async def coroutine(self):
        if self:
            def in_if(): pass
        else:
            def in_else(): pass
        try:
            def in_try(): pass
        except ValueError:
            def in_except(): pass
        finally:
            def in_finally(): pass
        for _ in ():
            class InFor: pass
        with self:
            while True:
                def in_while(): pass
""", (23, 9, 3)),
    ("site-packages/kept.py", "class Kept: pass\n", (1, 0, 1)),
    ("escape.py", "pattern = '\\d'\nassert (1, 'true')\nx is 1\n", (3, 0, 0)),
    ("latin.py", b"# -*- coding: latin-1 -*-\nname = '\xe9'\n", (2, 0, 0)),
    ("marked.py", b"\xef\xbb\xbfdef marked(): pass\n", (1, 1, 0)),
    ("bad.py", "def broken(:\n    pass\n", None),
    ("null.py", b"x = 1\0\n", None),
    ("encoding.py", b"x = '\xff\xfe'\n", None),
    ("notes.txt", "def not_python(): pass\n", ()),
    ("python", "def not_either(): pass\n", ()),
]
UNPARSABLE_LINES = 2 + 1 + 1


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    for name, text, _ in TREE:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def counted():
    """What the counts of the tree must be: files, lines, functions, classes, unparsable."""
    parsed = [counts for _, _, counts in TREE if counts]
    bad = sum(1 for _, _, counts in TREE if counts is None)
    lines, functions, classes = (sum(column) for column in zip(*parsed))
    return len(parsed) + bad, lines + UNPARSABLE_LINES, functions, classes, bad


def finish(arguments, patience=PATIENCE, **options):
    """Run a command from the checkout; return the finished process, or fail with the stacks of one that hangs."""
    options = dict({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": os.environ}, **options)
    options["env"] = dict(options["env"], PYTHONFAULTHANDLER="1")
    with subprocess.Popen([str(argument) for argument in arguments], cwd=ROOT, universal_newlines=True,
                          **options) as process:
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
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def demo(*arguments, **options):
    """Run the command in a process of its own; return the finished process."""
    return finish([sys.executable, "-m", "atasker_like", "demo", *arguments], **options)


def demo_json(*arguments, **options):
    done = demo(*arguments, "--json", **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# -- the work ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, text, counts", TREE, ids=[name for name, _, _ in TREE])
def test_counting(tree, name, text, counts):
    if counts == ():
        return
    data, lines = source.read_source(str(tree / name))
    if counts is None:
        with pytest.raises((SyntaxError, ValueError)):
            source.count_definitions(data)
        return
    assert (lines, *source.count_definitions(data)) == counts
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nodes = list(ast.walk(ast.parse(data)))
    assert counts[1:] == (sum(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) for node in nodes),
                          sum(isinstance(node, ast.ClassDef) for node in nodes))


@pytest.mark.skipif(sys.version_info < (3, 10), reason="a statement of 3.10")
def test_counting_in_match_statements():
    assert source.count_definitions(b"match x:\n    case 1:\n        def f(): pass\n") == (1, 0)


def test_the_compiler_has_no_say_about_other_peoples_escapes(recwarn):
    source.count_definitions(b"x = '\\d'\nx is 1\n")
    assert not recwarn.list


def test_finding(tree):
    found = source.find_sources(str(tree))
    assert found == sorted(found)
    assert {os.path.relpath(path, str(tree)) for path in found} == {
        name for name, _, _ in TREE if name.endswith(".py")}
    kept = source.find_sources(str(tree), ("site-packages",))
    assert set(found) - set(kept) == {str(tree / "site-packages" / "kept.py")}


def test_finding_reports_folders_that_cannot_be_listed(tmp_path):
    errors = []
    assert source.find_sources(str(tmp_path / "absent"), on_error=errors.append) == []
    assert [type(error) for error in errors] == [FileNotFoundError]


def test_finding_does_not_follow_links_in_a_circle(tree):
    (tree / "package" / "circle").symlink_to(tree, target_is_directory=True)
    assert len(source.find_sources(str(tree))) == counted()[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_might_never_end_is_not_read(tmp_path):
    os.mkfifo(str(tmp_path / "pipe.py"))
    with pytest.raises(OSError, match="not a regular file"):
        source.read_source(str(tmp_path / "pipe.py"))


def test_names_and_the_longest_function(tree):
    assert source.count_names(str(tree / "plain.py")) == 3              # def, one, pass
    assert source.longest_function(str(tree / "empty.py")) is None
    assert source.longest_function(str(tree / "package" / "deep" / "nested.py")) == ("coroutine", 8, 16)


@pytest.mark.parametrize("most", [1, 3, 50])
def test_no_more_calls_are_unfinished_than_told(most):
    ahead = yielded = highest = 0

    def calls():
        nonlocal ahead, highest
        for number in range(20):
            ahead += 1
            highest = max(highest, ahead - yielded)
            yield str(number), number

    seen = {}
    for key, task in run._as_they_end(background_task(lambda number: 2 * number), calls(), most):
        yielded += 1
        seen[key] = task.value(0)
    assert seen == {str(number): 2 * number for number in range(20)}
    assert highest == min(most, 20)


# -- what is measured ----------------------------------------------------------------------------------------------


def times(started, finished, created=None):
    return SimpleNamespace(created_at=started if created is None else created, started_at=started,
                           finished_at=finished)


def test_pool_use_is_the_share_of_each_interval():
    use = PoolUse(began=1000.0)
    use.add(PROCESSES, times(1000.0, 1000.1))           # two intervals of 0.05 s
    use.add(PROCESSES, times(1000.0, 1000.05))
    use.add(PROCESSES, times(1000.175, 1000.2))
    assert use.places(PROCESSES, until=1000.2)[:4] == pytest.approx([2, 1, 0, 0.5])
    assert use.places(THREADS, until=1000.2)[:4] == [0, 0, 0, 0]
    assert use.mean(PROCESSES, until=1000.2) == pytest.approx(0.175 / 0.2)


def test_the_last_interval_counts_as_far_as_it_goes():
    use = PoolUse(began=0.0)
    for _ in range(2):
        use.add(PROCESSES, times(0.0, 0.06))
    assert use.places(PROCESSES, until=0.06) == pytest.approx([2, 2])


def test_pool_use_gets_coarser_and_loses_nothing():
    use = PoolUse(began=0.0)
    for second in range(1000):
        use.add(THREADS, times(second, second + 0.5))
    places = use.places(THREADS, until=1000.0)
    assert len(places) <= 241
    assert sum(places[:-1]) * use.interval + places[-1] * (1000.0 % use.interval) == pytest.approx(500)


def test_a_task_that_never_ran_used_nothing_and_did_not_wait():
    use, waiting = PoolUse(began=0.0), Waiting()
    never = SimpleNamespace(created_at=0.0, started_at=None, finished_at=1.0)
    use.add(THREADS, never)
    waiting.add(never)
    assert use.mean(THREADS, until=1.0) == 0
    assert waiting.spread() == {"p50": None, "p99": None}


def test_waiting():
    waiting, all_of_them = Waiting(), Waiting()
    for number in reversed(range(100)):
        waiting.add(times(5.0 + number, 200.0, created=5.0))
    all_of_them.add_all(waiting)
    assert waiting.spread() == all_of_them.spread() == {"p50": 50.0, "p99": 99.0}


@pytest.mark.parametrize("order", [1, -1])
def test_of_equal_files_the_same_is_the_largest_whatever_the_order(order):
    tally = Tally()
    for path in ["b.py", "a.py", "c.py"][::order]:
        tally.add_lines(path, 7)
        tally.add_definitions(path, 1, 1)
    assert (tally.largest, tally.richest) == (("a.py", 7), ("a.py", 2))


@pytest.mark.parametrize("error, text", [
    (SyntaxError("invalid syntax", ("x.py", 3, 1, "")), "SyntaxError: invalid syntax (line 3)"),
    (SyntaxError("unknown encoding"), "SyntaxError: unknown encoding"),
    (IndentationError("dedent", ("x.py", 0, 1, "")), "IndentationError: dedent"),
    (PermissionError(13, "Permission denied", "/x"), "PermissionError: Permission denied"),
    (OSError("it is not a regular file"), "OSError: it is not a regular file"),
    (ValueError("two\nlines"), "ValueError: two lines"),
    (TaskCancelledError("x"), "TaskCancelledError: x"),
])
def test_errors_in_one_line(error, text):
    assert describe(error) == text


# -- the report ----------------------------------------------------------------------------------------------------


def outcome(**changes):
    data = {
        "path": "/root", "unlisted": [], "python": "3.x", "seconds": 4.2, "files": 1234, "lines": 567890,
        "definitions": {"functions": 43210, "classes": 1}, "largest": {"path": "/root/a/large.py", "lines": 9999},
        "unparsable": [{"path": f"/root/bad/{number:02}.py", "error": "SyntaxError: " + "why " * 30}
                       for number in range(3)],
        "tasks": {"succeeded": 4000, "failed": 3, "cancelled": 0},
        "waiting": {"p50": 0.001, "p99": 0.5, THREADS: {"p50": 0.0, "p99": 0.00123},
                    PROCESSES: {"p50": 0.0456, "p99": 1.5}},
        "overtaking": {"backlog": 1000, "overtaken": 998, "high_wait": 0.0012, "low_median_wait": 0.2,
                       "low_last_wait": 0.4},
        "delay": {"asked": 0.5, "actual": 0.5004, "files": 1},
        "coroutine": {"path": "/root/a/rich.py", "definitions": 77, "seconds": 0.02,
                      "longest": {"name": "long_one", "line": 5, "lines": 300}},
        "pool_use": {"interval": 0.05,
                     THREADS: {"places": 10, "mean": 0.25, "used": [0.0] * 40 + [0.01] * 44},
                     PROCESSES: {"places": 2, "mean": 1.94, "used": [0.0] * 4 + [2.0] * 80}},
    }
    data.update(changes)
    return data


def text_of(data, width=79, cut=True):
    return report._Text(width, cut, report._PLAIN, "/root").lines(data, "Things")


@pytest.mark.parametrize("width", [30, 39, 50, 79, 100])
def test_no_line_is_wider_than_the_terminal(width):
    lines = text_of(outcome(), width)
    assert max(map(len, lines)) <= width
    assert not any("\x1f" in line for line in lines)


def test_everything_is_in_the_report():
    text = re.sub(r"\s+", " ", "\n".join(text_of(outcome(), 100)))
    for part in ("Things, indexed in 4.2 s", "1,234, 3 of them not parsed", "567,890", "43,210 functions, 1 class",
                 "a/large.py, 9,999 lines", "bad/00.py: SyntaxError", "4,000 succeeded, 3 failed, 0 cancelled",
                 "p50 0 ms, p99 1.23 ms for threads", "p50 45.6 ms, p99 1.50 s for processes",
                 "behind 1,000 LOW ones, overtook 998 and waited 1.2 ms; they waited 200 ms (median), 400 ms (last)",
                 "asked for 500 ms, started after 500 ms, when 1 file was done",
                 "a/rich.py (77 definitions) in 20 ms: long_one(), 300 lines", "0.2 of 10", "1.9 of 2", "4.2 s"):
        assert part in text, part


def test_nothing_parsed():
    text = "\n".join(text_of(outcome(coroutine=None, files=1, unparsable=outcome()["unparsable"][:1])))
    assert "1, not parsed" in text
    assert "no file parsed" in text


def test_nothing_is_cut_where_there_is_no_terminal():
    assert "  bad/00.py: SyntaxError: " + "why " * 30 in text_of(outcome(), cut=False)


def test_folders_that_cannot_be_listed_are_named_apart():
    text = "\n".join(text_of(outcome(unlisted=[{"path": "/root/hidden", "error": "PermissionError: no"}])))
    assert text.startswith("Folders not listed:\n  hidden: PermissionError: no\n\nNot parsed:\n")
    assert "1,234, 3 of them not parsed" in text


def test_many_bad_files_are_named_up_to_a_number():
    bad = [{"path": f"/root/{number}.py", "error": "no"} for number in range(report._NAMED + 1234)]
    lines = text_of(outcome(unparsable=bad))
    assert sum(line.endswith(".py: no") for line in lines) == report._NAMED
    assert "  and 1,234 more; --json names them all" in lines


def test_a_name_cannot_command_the_terminal():
    text = "\n".join(text_of(outcome(largest={"path": "/root/a\x1b[2J\n\x1f\udcff.py", "lines": 1})))
    assert "a\\x1b[2J\\n\\x1f\\udcff.py, 1 line" in text


def test_the_chart_is_blank_only_where_nothing_was_in_use():
    chart = report._Text(79, True, report._PLAIN, "/")._chart
    assert chart([0.0, 0.001, 1.0, 2.0, 2.0, 5.0], 2, 6) == " .-@@@"[:1] + "." + report._PLAIN[4] + "@@@"
    assert chart([0.0] * 4 + [2.0] * 4, 2, 2) == " @"
    assert chart([2.0], 2, 5) == "@@@@@"
    assert chart([0.0], 0, 3) == "   "


@pytest.mark.parametrize("encoding, plain", [("utf-8", False), ("ascii", True), ("latin-1", True), ("utf-16", False)])
def test_characters_that_stdout_can_show(monkeypatch, encoding, plain):
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding=encoding))
    report.print_text(outcome(largest={"path": "/root/\u20ac.py", "lines": 1}), "Things")
    sys.stdout.flush()
    text = raw.getvalue().decode(encoding)
    assert ("@@@" in text) is plain
    assert ("\u2588\u2588\u2588" in text) is not plain
    assert ("\\u20ac.py" if plain else "\u20ac.py") in text


def test_no_stdout(monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    report.print_text(outcome(), "Things")


def test_json_is_ascii_and_one_object(capsys):
    report.print_json({"path": "\u20ac\udcff", "seconds": 1 / 3, "many": [1 / 3]})
    out = capsys.readouterr().out
    assert out.isascii() if hasattr(out, "isascii") else True
    assert json.loads(out) == {"path": "\u20ac\udcff", "seconds": 0.333333, "many": [0.333333]}


# -- a PATH that cannot be indexed ---------------------------------------------------------------------------------


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

    return [(absent, "does not exist"), (below_a_file, "does not exist"), (broken_link, "leads nowhere"),
            (link_to_itself, "cannot be reached"), (empty_folder, "no .py files"), (other_files, "no .py files"),
            (named_pipe, "neither a folder nor a regular file"), (nothing_readable, "can be read (the first of 2: "),
            (forbidden, "cannot be listed"), (empty_name, "does not exist"), (line_break, "does not exist")]


@pytest.mark.slow
@pytest.mark.parametrize("make, why", bad_paths(), ids=[make.__name__ for make, _ in bad_paths()])
def test_a_bad_path_is_one_line_and_status_2(tmp_path, make, why):
    path = make(tmp_path)
    for options in ([], ["--json"]):
        done = demo(path, *options)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1 and done.stderr.endswith("\n")
        assert done.stderr.startswith("python -m atasker_like demo: ")
        assert why in done.stderr
        assert "leave PATH out" in done.stderr
    tmp_path.chmod(0o700)


def test_a_path_with_a_null_byte():
    with pytest.raises(run.DemoError, match="cannot be reached"):
        run.run("a\0b")


def test_no_folder_of_the_standard_library(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "python.zip"))
    with pytest.raises(run.DemoError, match="standard library's folder .* does not exist"):
        run.run()


# -- the whole of it -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_json(tree):
    (tree / "gone.py").symlink_to(tree / "absent")
    files, lines, functions, classes, bad = counted()
    data = demo_json(tree)
    assert KEYS <= set(data)
    assert (data["files"], data["lines"]) == (files + 1, lines)
    assert data["definitions"] == {"functions": functions, "classes": classes}
    assert data["largest"] == {"path": str(tree / "package" / "deep" / "nested.py"), "lines": 23}
    assert data["python"] == platform.python_version()
    assert data["path"] == str(tree)

    assert [entry["path"] for entry in data["unparsable"]] == [
        str(tree / name) for name in ("bad.py", "encoding.py", "gone.py", "null.py")]
    reasons = {os.path.basename(entry["path"]): entry["error"] for entry in data["unparsable"]}
    assert reasons["gone.py"].startswith("FileNotFoundError: ")
    assert re.match(r"SyntaxError: .*\(line 1\)$", reasons["bad.py"])
    assert re.match(r"(SyntaxError|ValueError): .*null", reasons["null.py"])

    backlog = data["overtaking"]["backlog"]
    # Each file is read, and parsed if it was; then come the backlog, HIGH, the delayed one and the coroutine's.
    assert data["tasks"] == {"succeeded": files + (files - bad) + backlog + 3, "failed": bad + 1, "cancelled": 0}
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
        assert 0 < use[pool]["mean"] <= use[pool]["places"]
        assert len(use[pool]["used"]) == int(data["seconds"] / use["interval"]) + 1
        assert all(0 <= used <= use[pool]["places"] + 0.01 for used in use[pool]["used"])


@pytest.mark.slow
def test_text(tree):
    done = demo(tree)
    assert done.returncode == 0
    files, lines, functions, classes, bad = counted()
    assert f"\nfiles        {files}, {bad} of them not parsed\nlines        {lines}\n" in done.stdout
    assert f"\ndefinitions  {functions} functions, {classes} classes\n" in done.stdout
    assert "\nlargest      package/deep/nested.py, 23 lines\n" in done.stdout
    for name in ("bad.py", "encoding.py", "null.py"):
        assert f"\n  {name}: " in done.stdout
    assert re.fullmatch(r"files: 13/13 100% .*, 3 failed\nbacklog: 200/200 100% .*\n", done.stderr)


@pytest.mark.slow
def test_one_file(tree):
    data = demo_json(tree / "python")                   # whatever its name
    assert (data["files"], data["lines"], data["definitions"]) == (1, 1, {"functions": 1, "classes": 0})
    assert "\nlargest      python, 1 line\n" in demo(tree / "python").stdout


@pytest.mark.slow
def test_one_file_that_does_not_parse(tree):
    data = demo_json(tree / "bad.py")
    assert (data["files"], data["lines"], len(data["unparsable"])) == (1, 2, 1)
    assert data["coroutine"] is None
    assert "1, not parsed" in demo(tree / "bad.py").stdout


@pytest.mark.slow
def test_a_relative_path_and_a_link_to_a_folder(tree):
    (tree.parent / "link").symlink_to(tree, target_is_directory=True)
    data = demo_json(os.path.relpath(str(tree.parent / "link"), ROOT))
    assert data["files"] == counted()[0]
    assert not os.path.isabs(data["largest"]["path"])


@pytest.mark.slow
@pytest.mark.parametrize("environment", [
    {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    {"PYTHONWARNINGS": "error"}, {"PYTHONDEVMODE": "1"},
], ids=["ascii", "C", "C, and meant", "errors for warnings", "developer's mode"])
def test_environments(tree, environment):
    (tree / "na\u00efve.py").write_text("class \u00c9t\u00e9:\n" + "    pass\n" * 50, encoding="utf-8")
    done = demo(tree, env=dict(os.environ, **environment))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 2                 # no warning of the compiler among them
    assert "ve.py, 51 lines" in done.stdout
    if environment.get("PYTHONIOENCODING") == "ascii":
        assert "na\\xefve.py" in done.stdout
        assert all(ord(mark) < 128 for mark in done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes streams")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("closed, status", [
    ("2>&-", 0), ("<&-", 0), (">&-", 0), ("<&- >&- 2>&-", 0), (">/dev/full", 1),
])
def test_closed_streams(tree, closed, status, unbuffered):
    if "/dev/full" in closed and not os.path.exists("/dev/full"):
        pytest.skip("no such device")
    script = f'exec "$0" -m atasker_like demo --json "$1" {closed}'
    done = finish(["sh", "-c", script, sys.executable, tree], env=dict(os.environ, PYTHONUNBUFFERED=unbuffered))
    assert done.returncode == status
    if closed in ("2>&-", "<&-"):
        assert json.loads(done.stdout)["files"] == counted()[0]
    else:
        assert done.stdout == ""
    if status:
        assert done.stderr.splitlines()[-1].startswith("python -m atasker_like demo: ")
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="pipes break in another way elsewhere")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_reader_that_goes_away(tree, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = demo(tree, stdout=writer, env=dict(os.environ, PYTHONUNBUFFERED=unbuffered))
    finally:
        os.close(writer)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "Error" not in done.stderr


# -- on a terminal -------------------------------------------------------------------------------------------------


class OnTerminal:
    """The command with its streams on a terminal, and what it has written there so far."""

    def __init__(self, *arguments, columns=80, stdout=None, **environment):
        pty = pytest.importorskip("pty")
        import fcntl
        import struct
        import termios

        self.number, theirs = pty.openpty()
        self.deadline = time.monotonic() + PATIENCE
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environment = dict(os.environ, **dict({"TERM": "xterm", "PYTHONIOENCODING": "utf-8"}, **environment))
        environment.pop("COLUMNS", None)
        # A test runner in the background of a script ignores SIGINT, and so would what it starts.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "atasker_like", "demo", *map(str, arguments)], cwd=ROOT, env=environment,
            stdin=theirs, stdout=stdout or theirs, stderr=theirs, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
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
            assert select.select([self.number], [], [], self.deadline - time.monotonic())[0], self.data
            try:
                some = os.read(self.number, 65536)
            except OSError:         # how Linux says that nobody has the other end any more
                some = b""
            if not some:
                break
            self.data += some
        return self.data.decode("utf-8").replace("\r\n", "\n")


@pytest.mark.slow
@pytest.mark.parametrize("columns", [40, 80, 132])
def test_a_terminal_of_a_width(tree, columns):
    with OnTerminal(tree, columns=columns) as shown:
        text = shown.read()
        assert shown.process.wait(PATIENCE) == 0
    assert "files |#" in text and "backlog |#" in text
    assert "\x1b" not in text
    assert max(len(line) for line in re.split("[\r\n]", text)) < columns
    assert f"\nlines        {counted()[1]}\n" in text
    assert "\u2581" in text


@pytest.mark.slow
def test_a_dumb_terminal(tree):
    with OnTerminal(tree, TERM="dumb") as shown:
        text = shown.read()
        assert shown.process.wait(PATIENCE) == 0
    assert "\r" not in text and "\x1b" not in text
    assert re.search("^files: 13/13 100% ", text, re.M)


@pytest.mark.slow
def test_the_bar_fits_its_own_terminal_when_stdout_is_a_pipe(tree):
    with OnTerminal(tree, "--json", columns=40, stdout=subprocess.PIPE) as shown:
        text = shown.read()
        data = json.loads(shown.process.stdout.read().decode())
        assert shown.process.wait(PATIENCE) == 0
    assert data["files"] == counted()[0]
    assert "files |#" in text
    assert max(len(line) for line in re.split("[\r\n]", text)) < 40


@pytest.mark.slow
def test_ctrl_c():
    with OnTerminal("--json", stdout=subprocess.PIPE) as shown:
        shown.read(until=br"\b[3-9]\d\d/")          # some hundred files are done: all processes are at work
        os.killpg(shown.process.pid, signal.SIGINT)         # as the terminal does it: to all of them
        text = shown.read()
        assert shown.process.stdout.read() == b""
        assert shown.process.wait(PATIENCE) == 130
    bar, line, rest = text.split("\n")
    assert (line, rest) == ("python -m atasker_like demo: interrupted", "")


# -- real files ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
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
                functions += sum(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) for node in nodes)
                classes += sum(isinstance(node, ast.ClassDef) for node in nodes)
    data = demo_json(root)
    assert (data["files"], data["lines"]) == (files, lines)
    assert data["definitions"] == {"functions": functions, "classes": classes}
    assert data["unparsable"] == []


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_standard_library():
    root = sysconfig.get_path("stdlib")
    expected = {os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names
                if name.endswith(".py") and not {"site-packages", "dist-packages"} & set(folder.split(os.sep))}
    done = demo("--json", patience=100)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert KEYS <= set(data)
    assert data["files"] == len(expected)
    assert data["lines"] > 100 * len(expected)
    assert data["largest"]["path"] in expected
    assert {entry["path"] for entry in data["unparsable"]} < expected
    assert data["tasks"]["failed"] == len(data["unparsable"]) < 50
    assert not any(stat.S_ISDIR(os.stat(entry["path"]).st_mode) for entry in data["unparsable"])
    assert "Warning" not in done.stderr and "Traceback" not in done.stderr
