"""What the fork server imports before it forks pool processes, and which signals it gets."""
import signal
import threading
from multiprocessing import forkserver

import pytest

from atasker_like.pools.process import fork_server

CHILD = "atasker_like.pools.process.child"


@pytest.mark.parametrize("chosen, expected", [
    (["__main__"], ["__main__", CHILD]),
    (["json"], ["json"]),
    ([], []),
])
def test_preload_of_the_default_list_adds_the_child_and_a_chosen_list_stays(monkeypatch, chosen,
                                                                            expected):
    server = forkserver.ForkServer()
    server._preload_modules = chosen
    monkeypatch.setattr(forkserver, "_forkserver", server)
    monkeypatch.setattr(forkserver, "set_forkserver_preload", server.set_forkserver_preload)
    fork_server.before_start()
    assert server._preload_modules == expected


def blocked():
    return signal.SIGCHLD in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.fixture
def block_sigchld():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_sigchld_is_unblocked_for_a_start_only(block_sigchld):
    with fork_server.sigchld_unblocked():
        assert not blocked()
    assert blocked()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    with fork_server.sigchld_unblocked():
        assert not blocked()
    assert not blocked()


def test_sigchld_is_blocked_again_after_an_error_of_its_handler(block_sigchld):
    def fail(number, frame):
        raise LookupError

    before = signal.signal(signal.SIGCHLD, fail)
    try:
        signal.pthread_kill(threading.get_ident(), signal.SIGCHLD)
        with pytest.raises(LookupError), fork_server.sigchld_unblocked():
            pass
        assert blocked()
    finally:
        signal.signal(signal.SIGCHLD, before)
