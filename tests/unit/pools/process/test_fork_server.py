"""What the fork server imports before it forks pool processes."""
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
