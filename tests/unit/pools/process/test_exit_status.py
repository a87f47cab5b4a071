"""How pool processes ended: what is known although waitpid() does not tell, and what the error
says."""
import os
import signal
import subprocess
import sys

import pytest

from atasker_like import ProcessDiedError
from atasker_like.pools.process import exit_status, fork_server
from atasker_like.pools.process.exit_status import ExitStatus
from atasker_like.pools.process.protocol import process_died_error
from tests.support.internals.process_pool import ENDED_SERVERS, FORK_SERVER


@pytest.fixture
def ended():
    """Makes child processes that have ended, and whose status nobody has taken yet."""
    made = []

    def make(code):
        made.append(subprocess.Popen([sys.executable, "-S", "-c", code]))
        os.waitid(os.P_PID, made[-1].pid, os.WEXITED | os.WNOWAIT)
        return made[-1].pid

    yield make
    for process in made:
        process.wait()


KILLED = "import os; os.kill(os.getpid(), 15)"


@pytest.mark.parametrize("code, number", [("raise SystemExit(3)", 3), (KILLED, -15)])
def test_peek_leaves_the_status_of_a_child_there(ended, code, number):
    pid = ended(code)
    for _ in range(2):
        assert fork_server.has_ended(pid) == (True, number)
    os.waitpid(pid, 0)
    assert fork_server.has_ended(pid) == (True, None)


class Popen:
    """What multiprocessing keeps of a process."""

    def __init__(self, method, sentinel=None):
        self.method = method
        self.sentinel = sentinel
        self.returncode = None


class Process:
    """A process whose status nobody can tell any more."""

    def __init__(self, pid, popen):
        self.pid = pid
        self._popen = popen
        self.killed = False

    @property
    def exitcode(self):
        return self._popen.returncode

    def join(self, timeout=None):
        pass

    def kill(self):
        self.killed = True


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_reaped_by_the_application_is_not_killed(ended, method):
    pid = ended("")
    os.waitpid(pid, 0)
    process = Process(pid, Popen(method))
    status = exit_status.wait_for_end(process, None)
    assert status.code is None and "SIGCHLD" in str(status)
    assert not process.killed                       # the pid may be another process's by now
    assert process._popen.returncode is not None    # multiprocessing closes it


@pytest.fixture
def without_status():
    """A process of a fork server that has died, so that its pipe ends without a status."""
    reader, writer = os.pipe()
    os.close(writer)
    yield Process(1, Popen("forkserver", reader))
    os.close(reader)


@pytest.mark.parametrize("handler, code", [(signal.SIG_IGN, -15), (signal.SIG_DFL, None)])
def test_a_signal_that_ended_the_fork_server_too_is_named_if_the_parent_survives_it(
        ended, without_status, handler, code):
    server = ended(KILLED)
    before = signal.signal(signal.SIGTERM, handler)
    try:
        status = exit_status.wait_for_end(without_status, server)
        assert status.code == code
        assert f"signal {signal.SIGTERM.name}" in str(status)
        os.waitpid(server, 0)                       # as multiprocessing does it
        assert exit_status.wait_for_end(without_status, server).code in (code, 255)
    finally:
        signal.signal(signal.SIGTERM, before)
        ENDED_SERVERS.of(fork_server).pop(server, None)


class Holder:
    """What multiprocessing keeps of its fork server."""

    _forkserver_alive_fd = _forkserver_address = None

    def __init__(self, pid):
        self._forkserver_pid = pid


def test_the_status_of_a_fork_server_is_noted_before_it_is_replaced(ended, monkeypatch):
    server = ended(KILLED)
    ENDED_SERVERS.patch(monkeypatch, fork_server, {})
    monkeypatch.setattr(fork_server, "fork_server", lambda: server)
    holder = Holder(server)
    FORK_SERVER.patch(monkeypatch, fork_server, lambda: holder)
    fork_server.before_start()
    assert ENDED_SERVERS.of(fork_server) == {server: -15}
    assert holder._forkserver_pid == server         # multiprocessing waits for it
    os.waitpid(server, 0)
    fork_server.before_start()
    assert holder._forkserver_pid is None           # it would fail to


class Named:
    name, short_id = "fetch", "p-1"


@pytest.mark.parametrize("status, words", [
    (ExitStatus(-9), ["died by signal SIGKILL while it ran task fetch (p-1)"]),
    (ExitStatus(-250), ["died by signal 250 while"]),
    (ExitStatus(3), ["died with exit code 3 while", "os._exit()"]),
    (ExitStatus(None, "nobody knows"), ["died while it ran task fetch", "unknown, since nobody"]),
], ids=str)
def test_the_error_says_how_the_process_ended(status, words):
    error = process_died_error(7, status, Named)
    assert type(error) is ProcessDiedError
    assert (error.pid, error.exitcode) == (7, status.code)
    for word in words:
        assert word in str(error)


def test_error_of_multiprocessing_is_the_reason_and_is_logged(caplog):
    class Broken(Process):
        def join(self, timeout=None):
            raise TypeError("patched")

        def kill(self):
            self.killed = True

    process = Broken(0, Popen("spawn"))
    status = exit_status.wait_for_end(process, None)
    assert status.code is None and "TypeError: patched" in str(status)
    assert process.killed and process._popen.returncode is not None
    assert "the exit code of process 0 cannot be read" in caplog.text
