import ast
import io
import json
import os
import re
import sys
import sysconfig
import warnings
from types import SimpleNamespace

import pytest

from atasker_like import TaskCancelledError, background_task
from atasker_like.demo import report, run, source
from atasker_like.demo.measure import PROCESSES, THREADS, PoolUse, Tally, describe, spread, waited
from tests.support.internals.progress import NAMED, PLAIN, as_they_end, chart, report_text

from .demo_tree import TREE, counted, plant


@pytest.fixture
def tree(tmp_path):
    return plant(tmp_path / "tree")


# -- the work --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, text, counts", TREE, ids=[name for name, _, _ in TREE])
def test_lines_and_definitions_of_a_file_are_counted(tree, name, text, counts):
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
    assert counts[1:] == (sum(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
                              for node in nodes),
                          sum(isinstance(node, ast.ClassDef) for node in nodes))


@pytest.mark.skipif(sys.version_info < (3, 10), reason="a statement of 3.10")
def test_counting_in_match_statements():
    assert source.count_definitions(b"match x:\n    case 1:\n        def f(): pass\n") == (1, 0)


def test_the_compiler_has_no_say_about_other_peoples_escapes(recwarn):
    source.count_definitions(b"x = '\\d'\nx is 1\n")
    assert not recwarn.list


def test_sources_below_a_folder_are_found(tree):
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
    assert (source.longest_function(str(tree / "package" / "deep" / "nested.py"))
            == ("coroutine", 8, 16))


@pytest.mark.parametrize("most", [1, 3, 50])
def test_no_more_calls_are_unfinished_than_size(most):
    ahead = yielded = highest = 0

    def calls():
        nonlocal ahead, highest
        for number in range(20):
            ahead += 1
            highest = max(highest, ahead - yielded)
            yield str(number), number

    seen = {}
    for key, task in as_they_end(background_task(lambda number: 2 * number), calls(), most):
        yielded += 1
        seen[key] = task.value(0)
    assert seen == {str(number): 2 * number for number in range(20)}
    assert highest == min(most, 20)


# -- what is measured ------------------------------------------------------------------------------


def times(started, finished, created=None):
    return SimpleNamespace(created_at=started if created is None else created, started_at=started,
                           finished_at=finished)


def test_pool_use_is_the_share_of_each_interval():
    use = PoolUse(began=1000.0)
    use.add(PROCESSES, times(1000.0, 1000.1))           # two intervals of 0.05 s
    use.add(PROCESSES, times(1000.0, 1000.05))
    use.add(PROCESSES, times(1000.175, 1000.2))
    assert use.slots(PROCESSES, until=1000.2)[:4] == pytest.approx([2, 1, 0, 0.5])
    assert use.slots(THREADS, until=1000.2)[:4] == [0, 0, 0, 0]
    assert use.mean(PROCESSES, until=1000.2) == pytest.approx(0.175 / 0.2)


def test_the_last_interval_counts_as_far_as_it_goes():
    use = PoolUse(began=0.0)
    for _ in range(2):
        use.add(PROCESSES, times(0.0, 0.06))
    assert use.slots(PROCESSES, until=0.06) == pytest.approx([2, 2])


def test_pool_use_gets_coarser_and_loses_nothing():
    use = PoolUse(began=0.0)
    for second in range(1000):
        use.add(THREADS, times(second, second + 0.5))
    slots = use.slots(THREADS, until=1000.0)
    assert len(slots) <= 241
    assert sum(slots[:
                     -1]) * use.interval + slots[-1] * (1000.0 % use.interval) == pytest.approx(500)


def test_a_task_that_never_ran_used_nothing_and_did_not_wait():
    use = PoolUse(began=0.0)
    never = SimpleNamespace(created_at=0.0, started_at=None, finished_at=1.0)
    use.add(THREADS, never)
    assert use.mean(THREADS, until=1.0) == 0
    assert waited(never) is None
    assert spread([]) == {"p50": None, "p99": None}


def test_waiting_times_give_their_percentiles():
    seconds = [waited(times(5.0 + number, 200.0, created=5.0)) for number in reversed(range(100))]
    assert spread(seconds) == {"p50": 50.0, "p99": 99.0}


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


# -- the report ------------------------------------------------------------------------------------


def outcome(**changes):
    data = {
        "path": "/root", "unlisted": [], "python": "3.x", "seconds": 4.2, "files": 1234,
        "lines": 567890,
        "definitions": {"functions": 43210, "classes": 1},
        "largest": {"path": "/root/a/large.py", "lines": 9999},
        "unparsable": [{"path": f"/root/bad/{number:02}.py", "error": "SyntaxError: " + "why " * 30}
                       for number in range(3)],
        "tasks": {"succeeded": 4000, "failed": 3, "cancelled": 0},
        "waiting": {"p50": 0.001, "p99": 0.5, THREADS: {"p50": 0.0, "p99": 0.00123},
                    PROCESSES: {"p50": 0.0456, "p99": 1.5}},
        "overtaking": {"backlog": 1000, "overtaken": 998, "high_wait": 0.0012,
                       "low_median_wait": 0.2,
                       "low_last_wait": 0.4},
        "delay": {"asked": 0.5, "actual": 0.5004, "files": 1},
        "coroutine": {"path": "/root/a/rich.py", "definitions": 77, "seconds": 0.02,
                      "longest": {"name": "long_one", "line": 5, "lines": 300}},
        "pool_use": {"interval": 0.05,
                     THREADS: {"slots": 10, "mean": 0.25, "used": [0.0] * 40 + [0.01] * 44},
                     PROCESSES: {"slots": 2, "mean": 1.94, "used": [0.0] * 4 + [2.0] * 80}},
    }
    data.update(changes)
    return data


def text_of(data, width=79, cut=True):
    return report_text(width, cut, "/root").lines(data, "Things")


@pytest.mark.parametrize("width", [30, 39, 50, 79, 100])
def test_no_line_is_wider_than_the_terminal(width):
    lines = text_of(outcome(), width)
    assert max(map(len, lines)) <= width
    assert not any("\x1f" in line for line in lines)


def test_everything_is_in_the_report():
    text = re.sub(r"\s+", " ", "\n".join(text_of(outcome(), 100)))
    for part in ("Things, indexed in 4.2 s", "1,234, 3 of them not parsed", "567,890",
                 "43,210 functions, 1 class",
                 "a/large.py, 9,999 lines", "bad/00.py: SyntaxError",
                 "4,000 succeeded, 3 failed, 0 cancelled",
                 "p50 0 ms, p99 1.23 ms for threads", "p50 45.6 ms, p99 1.50 s for processes",
                 "behind 1,000 LOW ones, overtook 998 and waited 1.2 ms; they waited 200 ms "
                 "(median), 400 ms (last)",
                 "asked for 500 ms, started after 500 ms, when 1 file was done",
                 "a/rich.py (77 definitions) in 20 ms: long_one(), 300 lines", "0.2 of 10",
                 "1.9 of 2", "4.2 s"):
        assert part in text, part


def test_nothing_parsed():
    text = "\n".join(text_of(outcome(coroutine=None, files=1,
                                     unparsable=outcome()["unparsable"][:1])))
    assert "1, not parsed" in text
    assert "no file parsed" in text


def test_nothing_is_cut_where_there_is_no_terminal():
    assert "  bad/00.py: SyntaxError: " + "why " * 30 in text_of(outcome(), cut=False)


def test_folders_that_cannot_be_listed_are_named_apart():
    text = "\n".join(text_of(outcome(unlisted=[{"path": "/root/hidden",
                                                "error": "PermissionError: no"}])))
    assert text.startswith("Folders not listed:\n  hidden: PermissionError: no\n\nNot parsed:\n")
    assert "1,234, 3 of them not parsed" in text


def test_many_bad_files_are_named_up_to_a_number():
    bad = [{"path": f"/root/{number}.py", "error": "no"} for number in range(NAMED + 1234)]
    lines = text_of(outcome(unparsable=bad))
    assert sum(line.endswith(".py: no") for line in lines) == NAMED
    assert "  and 1,234 more; --json names them all" in lines


def test_a_name_cannot_command_the_terminal():
    text = "\n".join(text_of(outcome(largest={"path": "/root/a\x1b[2J\n\x1f\udcff.py",
                                              "lines": 1})))
    assert "a\\x1b[2J\\n\\x1f\\udcff.py, 1 line" in text


def test_the_chart_is_blank_only_where_nothing_was_in_use():
    assert chart([0.0, 0.001, 1.0, 2.0, 2.0, 5.0], 2,
                 6) == " .-@@@"[:1] + "." + PLAIN[4] + "@@@"
    assert chart([0.0] * 4 + [2.0] * 4, 2, 2) == " @"
    assert chart([2.0], 2, 5) == "@@@@@"
    assert chart([0.0], 0, 3) == "   "


@pytest.mark.parametrize("encoding, plain",
                         [("utf-8", False), ("ascii", True), ("latin-1", True), ("utf-16", False)])
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


# -- a PATH that cannot be indexed -----------------------------------------------------------------


def test_a_path_with_a_null_byte():
    with pytest.raises(run.DemoError, match="cannot be reached"):
        run.run("a\0b")


def test_no_folder_of_the_standard_library(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "python.zip"))
    with pytest.raises(run.DemoError, match="standard library's folder .* does not exist"):
        run.run()
