"""What a user who has pressed Ctrl-C is told about the tasks that the program waits for."""
import threading

import pytest

from atasker_like import TaskSupervisor
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
