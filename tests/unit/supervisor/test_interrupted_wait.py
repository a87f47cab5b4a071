"""What a user who has pressed Ctrl-C is told about the tasks that the program waits for."""
import threading

import pytest

from atasker_like import TaskSupervisor, ThreadExecutor
from tests.support import PATIENCE


def test_interrupted_block_logs_the_running_tasks_that_it_waits_for(caplog, monkeypatch):
    begun, gate = threading.Event(), threading.Event()

    def download():
        begun.set()
        gate.wait(PATIENCE)

    supervisor = TaskSupervisor("of the test")
    stop = supervisor.stop
    monkeypatch.setattr(supervisor, "stop", lambda **options: (gate.set(), stop(**options)))
    with pytest.raises(KeyboardInterrupt):
        with supervisor:
            task = supervisor.put_task(download)
            assert begun.wait(PATIENCE)
            raise KeyboardInterrupt
    assert caplog.messages == [
        "supervisor of the test waits for 1 running task(s) before the program ends, the first is "
        f"{task.name} ({task.short_id}); press Ctrl-C again to end at once"]


def test_interrupted_block_of_an_executor_logs_the_running_tasks(caplog, supervisor, monkeypatch):
    begun, gate = threading.Event(), threading.Event()

    def download():
        begun.set()
        gate.wait(PATIENCE)

    executor = ThreadExecutor(1, supervisor=supervisor)
    shutdown = executor.shutdown
    monkeypatch.setattr(executor, "shutdown", lambda **options: (gate.set(), shutdown(**options)))
    with pytest.raises(KeyboardInterrupt):
        with executor:
            task = executor.submit(download).task
            assert begun.wait(PATIENCE)
            raise KeyboardInterrupt
    assert caplog.messages == [
        f"supervisor {supervisor.id} waits for 1 running task(s) before the program ends, the "
        f"first is {task.name} ({task.short_id}); press Ctrl-C again to end at once"]
