"""The threads of the package, where an interpreter does not allow what they are."""
import threading

import pytest

from atasker_like import SupervisorError, _threads, background_task
from tests.support import PATIENCE, patches
from tests.support.internals.supervisor import application_threads


def test_thread_where_daemon_threads_are_forbidden_is_none_and_holds_no_exit(make_supervisor,
                                                                             monkeypatch):
    """As in an interpreter with a GIL of its own: its end stops the supervisors first."""
    monkeypatch.setattr(_threads, "DAEMON", False)
    before = set(application_threads())
    supervisor = make_supervisor()
    task = background_task(threading.current_thread, supervisor=supervisor)()
    assert not task.value(PATIENCE).daemon
    assert background_task(abs, supervisor=supervisor, delay=0.01)(-1).value(PATIENCE) == 1
    assert set(application_threads()) == before
    ran = threading.Event()
    _threads.start_thread(ran.set, ())
    assert ran.wait(PATIENCE)
    assert supervisor.stop(wait=PATIENCE).complete


def test_thread_at_the_end_of_the_interpreter_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(_threads, "is_finalizing", lambda: True)
    with pytest.raises(RuntimeError, match="end of the interpreter"):
        _threads.PackageThread(print).start()


def test_task_where_threads_are_forbidden_is_refused_at_once(make_supervisor, monkeypatch):
    def refuse(thread):
        raise RuntimeError("thread is not supported for isolated subinterpreters")

    ran = []
    supervisor = make_supervisor()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        for options in ({}, {"timeout": 10}):
            with pytest.raises(SupervisorError, match="allows no threads"):
                background_task(ran.append, supervisor=supervisor, **options)(1)
        assert supervisor.stop(wait=PATIENCE).complete
    assert not ran


def test_threads_derive_from_the_class_that_replaces_theirs(make_supervisor):
    class ForeignThread(threading.Thread):
        pass

    supervisor = make_supervisor()
    with patches.replaced(*patches.locks(), (threading, "Thread", ForeignThread)):
        thread = background_task(threading.current_thread, supervisor=supervisor)().value(PATIENCE)
        assert isinstance(thread, ForeignThread)
        supervisor.stop(wait=PATIENCE)
    _threads.follow_thread_class()
    assert _threads.PackageThread.__bases__ == (threading.Thread,)
