"""Checkpoint: what succeeded is not run again, whatever happened to the process or the file."""
import os
import signal
import sqlite3
import subprocess
import sys
from collections import namedtuple
from contextlib import closing
from functools import partial

import pytest

from atasker_like import (Checkpoint, CheckpointError, InvalidTypeError, MemoryBackend, SyncResult,
                          ThreadQueue, amap, pmap, run, tmap)
from atasker_like.queues.item_keys import spell
from tests.support import PATIENCE

from . import functions

Point = namedtuple("Point", "x y")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "work.checkpoint")


@pytest.fixture
def checkpoint(path):
    with Checkpoint(path) as made:
        yield made


def test_checkpoint_returns_what_has_succeeded(face, checkpoint):
    first = face.make()
    face.do(partial(first.map, face.function("fail_at"), [(n, 1) for n in range(3)],
                    checkpoint=checkpoint))
    assert face.run(first).succeeded == 2 and len(checkpoint) == 2
    again = face.make()
    handles = face.do(partial(again.map, face.function("fail_at"), [(n, 1) for n in range(4)],
                              checkpoint=checkpoint))
    assert [handle.done() for handle in handles] == [True, False, True, False]
    assert ([handles[0].value(), handles[2].result().value, handles[0].attempts, handles[0].status]
            == [0, 2, 0, "succeeded"])
    summary = face.run(again)
    # a failure runs again
    assert [result.attempts for result in summary.results] == [0, 1, 0, 1]
    assert summary.values == (0, 2, 3) and summary.failed == 1
    assert len(checkpoint) == 3


def test_restored_value_is_in_the_result_backend(supervisor, checkpoint):
    supervisor.set_result_backend(MemoryBackend())
    for attempts in 1, 0:
        queue = ThreadQueue(supervisor=supervisor)
        handles = queue.map(abs, [-7, -8], checkpoint=checkpoint)
        queue.run()
        stored = [SyncResult(handle.task_id, supervisor.result_backend) for handle in handles]
        assert [result.get(PATIENCE) for result in stored] == [7, 8]
        assert [handle.attempts for handle in handles] == [attempts] * 2


def test_checkpoint_with_a_group_returns_what_has_succeeded(face, checkpoint):
    for attempts in ((1, 1, 1), (0, 0, 0)):
        queue = face.make()
        group = face.do(partial(queue.group, face.function("double"), [1, 2],
                                checkpoint=checkpoint))
        mixed = face.do(partial(queue.group, [(face.function("add"), 1, 2)], checkpoint=checkpoint))
        face.run(queue)
        assert face.do(group.values) == (2, 4) and face.do(mixed.values) == (3,)
        assert tuple(handle.attempts for handle in [*group, *mixed]) == attempts


def test_checkpoint_with_a_bound_task_returns_what_has_succeeded(threads, checkpoint):
    queue = threads.make()
    bound = queue.task(name="bound")(functions.double)
    bound.map([1], checkpoint=checkpoint)
    queue.run()
    assert tmap(functions.double, [1], checkpoint=checkpoint,
                supervisor=threads.make().supervisor) == (2,)
    assert len(checkpoint) == 1


@pytest.mark.slow
def test_checkpoint_with_tmap_pmap_and_amap_returns_what_has_succeeded(supervisor, checkpoint):
    assert tmap(functions.double, [1, 2], supervisor=supervisor, checkpoint=checkpoint) == (2, 4)
    assert (pmap(functions.double, [1, 2, 3], supervisor=supervisor, checkpoint=checkpoint)
            == (2, 4, 6))
    assert run(amap(functions.co_double, [1], supervisor=supervisor, checkpoint=checkpoint)) == (2,)
    assert len(checkpoint) == 4         # the coroutine function is another one


def test_checkpoint_at_the_end_of_a_run_has_every_success(inside, checkpoint):
    for number in range(10):
        queue = inside.make()
        inside.do(partial(queue.map, inside.function("add"), [(number, n) for n in range(10)],
                          checkpoint=checkpoint))
        inside.run(queue)
        assert len(checkpoint) == 10 * (number + 1)


def test_checkpoint_keeps_successes_by_function(threads, checkpoint):
    queue = threads.make()
    queue.map(functions.double, [1, 2], checkpoint=checkpoint)
    queue.map(functions.add, [1], checkpoint=checkpoint)
    queue.run()
    assert checkpoint.clear(functions.double) == 2 and len(checkpoint) == 1
    assert checkpoint.clear() == 1 and len(checkpoint) == 0


@pytest.mark.parametrize("policy", ["continue", "fail_first"])
def test_checkpoint_knows_a_function_behind_wrappers_of_the_queue(threads, checkpoint, policy):
    for _ in range(2):
        queue = threads.make(fail_policy=policy, initializer=functions.double, initargs=(1,))
        handle, = queue.map(functions.double, [1], checkpoint=checkpoint)
        queue.run()
    assert handle.attempts == 0


@pytest.mark.parametrize("one, other, equal", [
    (("ab" * 2, "abab"), ("abab", "abab"), True), ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
    ({"x", "yy", "zzz"}, {"zzz", "yy", "x"}, True), (1, 1.0, False), (1, True, False),
    ("1", 1, False), (("a", "b"), ("ab",), False),
    ([1], (1,), False), (b"a", "a", False), (Point(1, 2), Point(1, 2), True),
    (Point(1, 2), (1, 2), False), ((1, (2,)), (1, 2), False),
    (None, "None", False), ("a:1", "a", False), ([[], [1]], [[1], []], False)])
def test_checkpoint_compares_inputs_by_value(one, other, equal):
    assert (spell(one) == spell(other)) is equal


@pytest.mark.slow
def test_spell_in_another_process_gives_the_same_bytes():
    value = [{"k": {"a", "b", "c", "d"}, "j": (1.5, None, b"x")}, frozenset("abcdef"),
             Point("a", "b")]
    code = ("from tests.unit.queues.test_checkpoint import Point, spell; "
            "print(spell([{'j': (1.5, None, b'x'), 'k': set('dcba')}, frozenset('fedcba'), "
            "Point('a', 'b')]).hex())")
    for seed in "1", "2":
        out = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=30,
                             check=True,
                             env=dict(os.environ, PYTHONHASHSEED=seed)).stdout.decode()
        assert out.strip() == spell(value).hex()


@pytest.mark.parametrize("settings",
                         [{}, {"fail_policy": "fail_first"},
                          {"fail_policy": "fail_first", "initializer": int}],
                         ids=["plain", "fail_first", "both"])
def test_input_or_function_that_cannot_be_identified_is_refused(threads, checkpoint, settings):
    queue = threads.make(**settings)
    with pytest.raises(InvalidTypeError, match="pickled"):
        queue.map(functions.double, [lambda: 1], checkpoint=checkpoint)
    with pytest.raises(InvalidTypeError, match="def"):
        queue.map(lambda x: x, [1], checkpoint=checkpoint)
    with pytest.raises(InvalidTypeError, match="def"):
        queue.map(partial(functions.add, 1), [1], checkpoint=checkpoint)
    with pytest.raises(InvalidTypeError, match="def"):
        queue.group(partial(functions.add, 1), [1], checkpoint=checkpoint)
    with pytest.raises(InvalidTypeError, match="def"):
        queue.group([(functions.Scale(key=[1]), 1)], checkpoint=checkpoint)
    queue.cancel()


def give_lock(_):
    import threading
    return threading.Lock()


def test_value_that_cannot_be_pickled_is_logged_and_not_kept(threads, checkpoint, caplog):
    queue = threads.make()
    handles = queue.map(give_lock, [0, 1], checkpoint=checkpoint)
    assert queue.run().succeeded == 2
    for position, handle in enumerate(handles):
        assert (f"success of task give_lock ({handle.task.short_id}), item {position}, was not "
                "kept") in caplog.text
    assert len(checkpoint) == 0


def test_checkpoint_closed_before_a_run_logs_what_it_does_not_keep(threads, checkpoint, caplog):
    queue = threads.make()
    queue.map(functions.double, [1], checkpoint=checkpoint)
    checkpoint.close()
    checkpoint.close()
    assert queue.run().succeeded == 1 and "is closed" in caplog.text
    with pytest.raises(CheckpointError, match="closed"):
        len(checkpoint)
    assert "closed" in repr(checkpoint) and bool(checkpoint)


# -- the file --------------------------------------------------------------------------------------


def test_checkpoint_file_is_readable_for_its_user_alone(path, checkpoint):
    assert os.stat(path).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_file_that_other_users_can_write_to_is_refused(path, checkpoint, mode):
    os.chmod(path, mode)
    with pytest.raises(CheckpointError, match="chmod") as caught:
        Checkpoint(path)
    assert caught.value.filename == path and path in str(caught.value)


def test_file_that_is_no_database_is_refused(path):
    with open(path, "wb") as file:
        file.write(b"no database at all, but long enough to be looked at as one\n" * 100)
    os.chmod(path, 0o600)
    with pytest.raises(CheckpointError, match="not a database") as caught:
        Checkpoint(path)
    assert caught.value.filename == path


@pytest.mark.parametrize("statement, words",
                         [("CREATE TABLE mine (x)", "not a checkpoint"),
                          ("PRAGMA application_id=5", "not a checkpoint"),
                          ("PRAGMA application_id=1952671851; PRAGMA "
                           "user_version=7", "version 7")])
def test_database_that_is_no_checkpoint_is_refused(path, statement, words):
    with closing(sqlite3.connect(path)) as database:
        database.executescript(statement)
    os.chmod(path, 0o600)
    with pytest.raises(CheckpointError, match=words) as caught:
        Checkpoint(path)
    assert path in str(caught.value)


def test_damaged_file_is_refused(supervisor, path):
    with Checkpoint(path) as made:
        tmap(functions.double, range(500), checkpoint=made, supervisor=supervisor)
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)
    with pytest.raises(CheckpointError, match="damaged") as caught:
        with Checkpoint(path) as made:
            tmap(functions.double, range(500), checkpoint=made, supervisor=supervisor)
    assert caught.value.filename == path


def test_damaged_value_is_refused(supervisor, path):
    with Checkpoint(path) as made:
        tmap(functions.double, [1], checkpoint=made, supervisor=supervisor)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE done SET value=x'00ff'")
        database.commit()
    with Checkpoint(path) as made:
        with pytest.raises(CheckpointError, match="cannot be read"):
            tmap(functions.double, [1], checkpoint=made, supervisor=supervisor)


@pytest.mark.parametrize("wrong", [5, b"bytes"])
def test_path_of_a_wrong_type_is_refused(wrong):
    with pytest.raises(TypeError):
        Checkpoint(wrong)


def test_path_in_a_missing_directory_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be made"):
        Checkpoint(tmp_path / "nowhere" / "file")


PROGRAM = """
import os, sys
from atasker_like import Checkpoint, ThreadQueue
from tests.unit.queues.test_checkpoint import note

checkpoint = Checkpoint(sys.argv[1])
queue = ThreadQueue(workers=2)
handles = queue.map(note, [(sys.argv[2], n) for n in range(2000)], checkpoint=checkpoint)
known = [number for number, handle in enumerate(handles) if handle.done()]
with open(sys.argv[2], "a") as file:
    file.write("known %s\\n" % " ".join(map(str, known)))
print(len(known), flush=True)
queue.run()
print("ended", len(checkpoint), flush=True)
"""


def note(path, number):
    with open(path, "a") as file:
        file.write(f"{number}\n")
    return number


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_run_goes_on_where_it_stopped(tmp_path, path):
    """Killed again and again, in the middle of whatever it was writing: nothing that was kept is
    run again, and nothing is missing in the end."""
    trace = str(tmp_path / "trace")
    kept = 0
    for number in range(4):
        with subprocess.Popen([sys.executable, "-c", PROGRAM, path, trace],
                              stdout=subprocess.PIPE) as program:
            found = int(program.stdout.readline())
            assert found >= kept
            # As soon as so many more are in the file, by what the file itself says.
            while program.poll() is None:
                with closing(sqlite3.connect(path, timeout=20)) as database:
                    kept, = database.execute("SELECT count(*) FROM done").fetchone()
                if kept >= found + 100:
                    program.send_signal(signal.SIGKILL)
                    break
            program.wait(20)
    out = subprocess.run([sys.executable, "-c", PROGRAM, path, trace], stdout=subprocess.PIPE,
                         timeout=50, check=True).stdout.split()
    assert int(out[0]) >= kept >= 100 and out[1:] == [b"ended", b"2000"]
    known, ran = set(), []
    with open(trace) as file:
        for line in file:
            if line.startswith("known"):
                known = {int(word) for word in line.split()[1:]}
            else:
                ran.append(int(line))
                assert ran[-1] not in known, "it was kept, and ran again"
    assert set(ran) == set(range(2000))


@pytest.mark.slow
def test_only_what_is_missing_is_submitted(threads, checkpoint, supervisor):
    """Over many chunks of submission, with gaps."""
    tmap(functions.double, range(0, 3000, 2), checkpoint=checkpoint, supervisor=supervisor)
    before = supervisor.stats().submitted
    queue = threads.make()
    handles = queue.map(functions.double, range(3000), checkpoint=checkpoint)
    assert supervisor.stats().submitted - before == 1500
    assert [handle.done() for handle in handles] == [True, False] * 1500
    assert queue.run().values == tuple(range(0, 6000, 2))


def test_group_with_a_checkpoint_reads_the_records_of_a_function_once(threads, checkpoint,
                                                                      monkeypatch):
    queue, pages, make = threads.make(), [], checkpoint.page
    monkeypatch.setattr(checkpoint, "page", lambda function: pages.append(function)
                        or make(function))
    queue.group([(abs, -1), (abs, -2), (str, 3)], checkpoint=checkpoint)
    assert threads.run(queue).values == (1, 2, "3")
    assert len(pages) == 2
