"""What a pool process has of the program: environment variables, working folder, module search
path, main module."""
import os
import pickle
import signal
import subprocess
import sys

import pytest

from atasker_like import TT_MP, background_task
from atasker_like.pools.process import environment
from atasker_like.pools.process.environment import ProcessName
from tests.support import PATIENCE, ROOT
from tests.support.internals.process_pool import KNOWN

METHODS = ["forkserver", "spawn", "fork"]


def look_at(supervisor, *names):
    """Return variables as a pool process has them."""
    tasks = [background_task(os.getenv, tt=TT_MP, supervisor=supervisor)(name) for name in names]
    return [task.value(PATIENCE) for task in tasks]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("method", METHODS)
def test_process_has_the_variables_of_its_start(make_supervisor, monkeypatch, method):
    monkeypatch.setenv("ATASKER_TEST_GONE", "there")
    for value in ("first", "\udcff second"):        # the second one is no text in UTF-8
        monkeypatch.setenv("ATASKER_TEST_LATE", value)
        supervisor = make_supervisor()
        supervisor.set_mp_pool(pool_size=1, start_method=method)
        gone = os.environ.get("ATASKER_TEST_GONE")
        assert look_at(supervisor, "ATASKER_TEST_LATE", "ATASKER_TEST_GONE") == [value, gone]
        supervisor.stop(wait=PATIENCE)
        monkeypatch.delenv("ATASKER_TEST_GONE", raising=False)


@pytest.mark.slow
def test_process_that_replaces_another_one_has_the_variables_of_its_own_start(supervisor,
                                                                              monkeypatch):
    supervisor.set_mp_pool(pool_size=1)
    monkeypatch.setenv("ATASKER_TEST_LATE", "before")
    assert look_at(supervisor, "ATASKER_TEST_LATE") == ["before"]
    monkeypatch.setenv("ATASKER_TEST_LATE", "after")
    assert look_at(supervisor, "ATASKER_TEST_LATE") == ["before"]
    os.kill(supervisor.mp_pool.pids()[0], signal.SIGKILL)
    # it may meet the dying one
    background_task(abs, tt=TT_MP, supervisor=supervisor, retries=1)(-1).wait(PATIENCE)
    assert look_at(supervisor, "ATASKER_TEST_LATE") == ["after"]


@pytest.fixture
def server(monkeypatch):
    """Makes as if a fork server had been started with these variables."""
    def make(pid, variables):
        monkeypatch.setattr(environment, "fork_server", lambda: pid)
        KNOWN.patch(monkeypatch, environment, (pid, variables))

    return make


def test_name_brings_variables_along_in_its_first_pickle_only(server, monkeypatch):
    server(7, dict(os.environ))
    monkeypatch.setenv("ATASKER_TEST_LATE", "value")
    name = ProcessName("a process")
    first, second = pickle.dumps(name), pickle.dumps(name)
    monkeypatch.setenv("ATASKER_TEST_EXTRA", "to be removed")
    monkeypatch.delenv("ATASKER_TEST_LATE")
    assert pickle.loads(second) == "a process" and "ATASKER_TEST_LATE" not in os.environ
    found = pickle.loads(first)
    assert (found, type(found)) == ("a process", str)
    assert os.environ["ATASKER_TEST_LATE"] == "value" and "ATASKER_TEST_EXTRA" not in os.environ


def test_name_brings_nothing_along_when_the_server_has_the_same_variables(server):
    server(7, dict(os.environ))
    assert b"eval" not in pickle.dumps(ProcessName("a process"))
    server(None, {})                    # it is about to be started, with the variables of now
    assert b"eval" not in pickle.dumps(ProcessName("a process"))


def test_variables_of_a_server_of_the_application_are_not_relied_upon(server, monkeypatch):
    server(7, dict(os.environ))
    monkeypatch.setattr(environment, "fork_server", lambda: 8)
    assert b"eval" in pickle.dumps(ProcessName("a process"))


def test_variables_of_a_new_server_are_noted(server, monkeypatch):
    server(None, {})
    name = ProcessName("a process")
    monkeypatch.setattr(environment, "fork_server", lambda: 9)
    name.note_server()
    assert KNOWN.of(environment) == (9, dict(os.environ))


# -- programs --------------------------------------------------------------------------------------


MOVES = """
import os
from atasker_like import TT_MP, background_task

@background_task(tt=TT_MP)
def where(n):
    return n, os.getcwd()

if __name__ == "__main__":
    os.chdir("/")
    print(*where(3).value(30))
"""

IMPORTS = """
import os
PID = os.getpid()
SEEN = os.environ.get("ATASKER_TEST_LATE")
os.environ["ATASKER_TEST_OWN"] = "by the main module"

def look():
    return PID == os.getpid(), os.environ["ATASKER_TEST_LATE"], SEEN, os.environ["ATASKER_TEST_OWN"]

if __name__ == "__main__":
    from atasker_like import TT_MP, TaskSupervisor
    for value in ("first", "second"):
        os.environ["ATASKER_TEST_LATE"] = value
        os.environ["ATASKER_TEST_OWN"] = "by the program"
        supervisor = TaskSupervisor()
        supervisor.set_mp_pool(pool_size=1)
        print(*supervisor.put_task(look, tt=TT_MP).value(30), sep=", ")
        supervisor.stop()
"""


def run(program, folder):
    (folder / "program.py").write_text(program)
    root = ROOT
    done = subprocess.run([sys.executable, "program.py"], cwd=str(folder), stdout=subprocess.PIPE,
                          timeout=60, check=True,
                          env=dict(os.environ, PYTHONPATH=root))
    return done.stdout.decode().splitlines()


@pytest.mark.gate
@pytest.mark.slow
def test_program_started_by_a_relative_path_may_change_its_folder_first(tmp_path):
    assert run(MOVES, tmp_path) == ["3 /"]


@pytest.mark.gate
@pytest.mark.slow
def test_main_module_is_imported_with_the_variables_and_may_set_its_own(tmp_path):
    for value, line in zip(["first", "second"], run(IMPORTS, tmp_path)):
        imported_here, late, seen, own = line.split(", ")
        assert late == value
        # Some Pythons import the main module in the fork server, once, when that starts.
        if imported_here == "True":
            assert (seen, own) == (value, "by the main module")
        else:
            assert sys.version_info >= (3, 13)
            assert seen == "first"
