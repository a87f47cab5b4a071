"""dump(): where every running task is."""
import asyncio
import errno
import io
import os
import signal
import threading

import pytest

from atasker_like import TT_MP, ThreadQueue, background_task, background_worker
from atasker_like.supervisor import tracebacks
from tests.support import PATIENCE
from tests.support.gates import Hold
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


@pytest.mark.parametrize("start", [
    pytest.param(lambda supervisor, function: background_worker(
        function, supervisor=supervisor).start(), id="worker"),
    pytest.param(lambda supervisor, function: queue_with(
        supervisor, initializer=int).submit(function), id="queue with an initializer")])
def test_dump_begins_at_the_function_that_the_package_calls_for_another_object(supervisor, start):
    hold = Hold()

    def stuck_here():
        hold()
        return False

    start(supervisor, stuck_here)
    hold.reached()
    text = dumped(supervisor)
    hold.go()
    files = [line.split('"')[1] for line in text.splitlines() if line.startswith("  File")]
    assert files[0] == __file__ and "in stuck_here" in text


def queue_with(supervisor, **options):
    queue = ThreadQueue(supervisor=supervisor, **options)
    queue.start()
    return queue


def test_dump_begins_at_the_coroutine_function_of_a_worker(supervisor):
    began, go = threading.Event(), []

    @background_worker(supervisor=supervisor)
    async def stuck_there():
        go.append((asyncio.get_running_loop(), asyncio.Event()))
        began.set()
        await go[0][1].wait()
        return False

    stuck_there.start()
    assert began.wait(PATIENCE)
    text = dumped(supervisor)
    go[0][0].call_soon_threadsafe(go[0][1].set)
    files = [line.split('"')[1] for line in text.splitlines() if line.startswith("  File")]
    assert files[0] == __file__


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
    assert "await go[0][1].wait()" in text and "coroutines.py" not in text


def test_a_coroutine_that_awaits_another_one(supervisor):
    began, go = threading.Event(), []

    async def inner():
        go.append((asyncio.get_running_loop(), asyncio.Event()))
        began.set()
        await go[0][1].wait()

    async def outer():
        await inner()

    task = background_task(outer, supervisor=supervisor)()
    assert began.wait(PATIENCE)
    text = dumped(supervisor)
    go[0][0].call_soon_threadsafe(go[0][1].set)
    task.value(PATIENCE)
    assert text.index("await inner()") < text.index("await go[0][1].wait()")


def test_a_coroutine_that_blocks_its_loop(supervisor):
    hold = Hold()

    async def blocks_here():
        hold()

    task = background_task(blocks_here, supervisor=supervisor)()
    hold.reached()
    text = dumped(supervisor)
    hold.go()
    task.value(PATIENCE)
    assert "    hold()\n" in text and "coroutines.py" not in text


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
        assert "child.py" not in text and "call first" not in text
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


def test_into_a_file_that_takes_no_text(supervisor, caplog):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    supervisor.dump(Full())
    assert caplog.messages == ["the stacks of the running tasks could not be written: OSError: "
                               f"[Errno {errno.ENOSPC}] No space left on device"]


def test_stack_of_a_process_ends_at_the_function():
    own = '  File "/lib/atasker_like/pools/process/child.py", line 1 in run\n'
    start = '  File "/lib/python/multiprocessing/forkserver.py", line 2 in main\n'
    user = '  File "/app/work.py", line 3 in crunch\n'
    head = "Current thread 0x01 (most recent call first):\n"
    other = "Thread 0x02 (most recent call first):\n"
    inner = '  File "/app/work.py", line 9 in inner\n'
    cut = tracebacks.without_pool_frames
    assert cut(head + inner + user + own + own + start) == user + inner
    assert cut(head + own + user + own + start) == user + own               # it reports progress
    last = (other + user + head + user).replace("call first", "call last")
    assert cut(other + user + head + user + own + start) == last
    assert cut(head + own + start) == start + own                           # between two tasks
    wrapper = '  File "/lib/atasker_like/queues/calls.py", line 4 in __call__\n'
    assert cut(head + user + wrapper + own + start) == user
    assert cut(head + wrapper + own + start) == wrapper
    assert cut("  (no answer)\n") == "  (no answer)\n"
