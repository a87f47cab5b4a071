"""Row 41: results that cannot be stored, or only half. Tasks do not notice, who asks is told, what
was stored stays."""
import os
import resource
import signal
import subprocess
import sys
from contextlib import closing, contextmanager

from . import work
from .fixtures import Log, Program, rounds

#: Bytes that a file may have on the full disk; a result has more.
ROOM = 128 << 10

#: Holds a file as someone does who is in the middle of writing to it, until its own input ends.
HOLDER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
database.execute("ROLLBACK")
"""


@contextmanager
def _storing(scene):
    """Results go into a file, and some are there before the fault. Give the backend, and their
    handles."""
    from atasker_like import SQLiteBackend

    scene.open(size=2, threads=2)
    with SQLiteBackend(os.path.join(scene.folder, "results.db"), timeout=0) as backend:
        scene.native.set_result_backend(backend)
        try:
            before = _of_all_kinds(scene)
            scene.succeeded(*before)
            backend.flush(scene.patience)
            yield backend, before
            backend.flush(scene.patience)       # the fault is over
            _answered(scene, scene.oracle.handles, backend.path)
        finally:
            scene.native.set_result_backend(None)


def _of_all_kinds(scene, value=None):
    """Submit tasks of all kinds, which must succeed; their values are numbers (the default)."""
    values = [number if value is None else value for number in range(scene.count(3, 100))]
    return [scene.submit(work.echo, given, kind=kind, expected=(given,))
            for kind in ("thread", "process", "coroutine") for given in values]


def _answered(scene, handles, backend):
    """Who asks for these must get their values: from the backend, or as another process does if it
    is a path."""
    from atasker_like import SQLiteBackend, SyncResult

    if isinstance(backend, str):
        with SQLiteBackend(backend) as elsewhere:
            _answered(scene, handles, elsewhere)
        return
    for handle in handles:
        try:
            value = SyncResult(handle.native.id, backend).get(0)
        except Exception as error:
            scene.check(
                False, "the result cannot be had: %s: %s" % (type(error).__name__, error), handle
            )
        else:
            scene.check(
                (value,) == handle.expected, "the result is another one: %.100r" % (value,), handle
            )


def _not_stored(scene, backend, *words):
    """What has come cannot be stored, which is said where that is asked, and once in the log."""
    from atasker_like import ResultBackendError

    scene.injected()
    with Log() as log:
        _refused(scene, lambda: backend.flush(scene.patience), ResultBackendError, *words)
        _refused(
            scene, lambda: backend.write([("other", "x" * (2 * ROOM))]), ResultBackendError, *words
        )
        scene.check(not log.said("dropped"), "results are dropped: %s" % log.said())


def _refused(scene, call, kind, *words):
    try:
        call()
    except kind as error:
        for word in words:
            scene.check(word in str(error), "the error does not say %r: %s" % (word, error))
    else:
        scene.check(False, "nothing was said where %r was expected" % (words,))


def disk_full(scene):
    """The disk is full for a while: results wait in memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with _storing(scene) as (backend, before):
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))
        try:
            big = _of_all_kinds(scene, "x" * (2 * ROOM))
            scene.succeeded(*big)
            _not_stored(scene, backend, backend.path, "room on the disk")
            _answered(scene, before + big, backend)
            _answered(scene, before, backend.path)
            scene.succeeded(*_of_all_kinds(scene))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def file_locked(scene):
    """Another process holds the file, until it ends; then one that is killed."""
    with _storing(scene) as (backend, before):
        for killed in (False, True):
            with subprocess.Popen(
                [sys.executable, "-c", HOLDER, backend.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            ) as holder:
                holder.stdout.readline()
                held = _of_all_kinds(scene)
                scene.succeeded(*held)
                _not_stored(scene, backend, backend.path, "locked", "another process holds it")
                _answered(scene, before + held, backend)
                _answered(scene, before, backend.path)
                if killed:
                    holder.kill()
                else:
                    # A pool process that was forked meanwhile has its pipe: closing it ends
                    # nothing.
                    holder.stdin.write(b"\n")
                    holder.stdin.flush()
            backend.flush(scene.patience)
            _answered(scene, before + held, backend.path)


def file_spoilt(scene):
    """Someone writes over the file, from its beginning or behind its first page, and puts it back
    later."""
    from atasker_like import ResultBackendError, SyncResult

    with _storing(scene) as (backend, before):
        for start, words in ((0, "not a database"), (4096, "malformed")):
            backend.flush(scene.patience)
            # so that all is in the one file; it is opened again when it is needed
            backend.close()
            with open(backend.path, "r+b") as file:
                good = file.read()
                file.seek(start)
                file.write(b"\xff" * (len(good) - start))
            held = _of_all_kinds(scene)
            scene.succeeded(*held)
            _not_stored(scene, backend, backend.path, words, "put it away")
            _answered(scene, held, backend)
            for handle in before:
                _refused(
                    scene,
                    SyncResult(handle.native.id, backend).get,
                    ResultBackendError,
                    backend.path,
                    words,
                )
            with open(backend.path + ".good", "wb") as file:
                file.write(good)
            # in one step: the writer tries again when it likes
            os.replace(backend.path + ".good", backend.path)
            _answered(scene, before, backend)


def killed_while_storing(scene):
    """A program is killed in the middle of its work, again and again. All that it has reported
    stored is there."""
    import sqlite3

    from atasker_like import SQLiteBackend, SyncResult

    path = os.path.join(scene.folder, "results.db")
    stored = {}
    for _ in rounds(scene, scene.count(3, 20)):
        with Program(scene, "storing", path) as program:
            for _ in range(scene.random.randint(1, 4)):
                words = program.read()
                stored.update(zip(words[::2], words[1::2]))
            scene.injected()
            program.end(signal.SIGKILL)
        with SQLiteBackend(path) as backend:
            missing = [
                task_id
                for task_id, value in stored.items()
                if SyncResult(task_id, backend).state() != "SUCCESS"
                or str(SyncResult(task_id, backend).get(0)) != value
            ]
        scene.check(
            not missing,
            "%d of %d results that were reported stored are missing" % (len(missing), len(stored)),
        )
        with closing(sqlite3.connect(path)) as database:
            said = database.execute("PRAGMA integrity_check").fetchall()
            torn = database.execute(
                "SELECT count(*) FROM results WHERE data NOT LIKE '{%}'"
            ).fetchone()
        scene.check(said == [("ok",)], "the file is damaged: %s" % said)
        scene.check(torn == (0,), "%d results are torn" % torn)
