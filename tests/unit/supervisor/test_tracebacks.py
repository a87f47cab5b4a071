"""dump(): where every running task is."""
import asyncio
import io
import os
import signal
import threading

import pytest

from atasker_like import TT_MP, background_task
from atasker_like.supervisor import tracebacks
from tests.support import PATIENCE
from tests.support.internals import manager
from tests.unit import in_processes


def dumped(supervisor):
    file = io.StringIO()
    supervisor.dump(file)
    return file.getvalue()


def test_dump_without_tasks_says_so(supervisor):
    assert dumped(supervisor).splitlines() == [f"supervisor {supervisor.id}: 0 running tasks"]


def test_dump_shows_the_stack_of_a_thread_task(supervisor):
    began, go = threading.Event(), threading.Event()

    def stuck_here():
        began.set()
        go.wait(PATIENCE)

    task = background_task(stuck_here, supervisor=supervisor)()
    assert began.wait(PATIENCE)
    text = dumped(supervisor)
    go.set()
    assert "1 running task\n" in text and task.name in text and task.short_id in text
    assert "go.wait(PATIENCE)" in text and "threads.py" not in text


def test_dump_shows_the_stack_of_a_coroutine_task(supervisor):
    began, go = threading.Event(), []

    async def stuck_there():
        go.append((asyncio.get_running_loop(), asyncio.Event()))
        began.set()
        await go[0][1].wait()

    task = background_task(stuck_there, supervisor=supervisor)()
    assert began.wait(PATIENCE)
    text = dumped(supervisor)
    go[0][0].call_soon_threadsafe(go[0][1].set)
    task.value(PATIENCE)
    assert "stuck_there" in text and "coroutine" in text


@pytest.mark.skipif(not hasattr(signal, "SIGUSR2"), reason="processes cannot be asked")
def test_a_process_that_holds_the_interpreter_in_c_code(supervisor, tmp_path):
    supervisor.set_mp_pool(pool_size=2)
    path = str(tmp_path / "began")
    task = supervisor.put_task(in_processes.enter_and_wait, (path,), tt=TT_MP)
    never, rounds = threading.Event(), 0
    while not os.path.exists(path):
        never.wait(0.01)
        rounds += 1
        assert rounds < 100 * PATIENCE
    for _ in range(3):      # one question does not spoil the next
        text = dumped(supervisor)
        assert "in enter_and_wait" in text and "process" in text, text
        assert text.rstrip().endswith("in enter_and_wait"), text
    assert "1 running task\n" in text
    task.cancel()


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signal")
def test_on_a_signal(supervisor):
    file = io.StringIO()
    before = signal.getsignal(signal.SIGUSR1)
    supervisor.dump_on_signal(file=file)
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        with manager(supervisor).threads.lock:
            os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert file.getvalue().count("0 running tasks") == 2


def test_without_a_standard_error(supervisor, monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    supervisor.dump()


def test_stack_of_a_process_ends_at_the_function():
    own = '  File "/lib/atasker_like/pools/process/child.py", line 1 in run\n'
    start = '  File "/lib/python/multiprocessing/forkserver.py", line 2 in main\n'
    user = '  File "/app/work.py", line 3 in crunch\n'
    head = "Current thread 0x01 (most recent call first):\n"
    other = "Thread 0x02 (most recent call first):\n"
    cut = tracebacks.without_pool_frames
    assert cut(head + user + own + own + start) == head + user
    assert cut(head + own + user + own + start) == head + own + user     # it reports progress
    assert cut(other + user + head + user + own + start) == other + user + head + user
    assert cut(head + own + start) == head + own + start                # between two tasks
    assert cut("  (no answer)\n") == "  (no answer)\n"
