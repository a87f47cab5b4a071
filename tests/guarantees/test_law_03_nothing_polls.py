"""Law 3. Nothing polls: an idle supervisor makes no system call at all. Every wait is on a lock, a
queue, a pipe or a computed deadline. No ``sleep`` in the package outside the demo."""
import ast
import os

import pytest

from tests.support.scripts import run_script
from tests.support.sources import sources

IDLE = r"""
import asyncio, glob, os, re, threading
from time import monotonic
from atasker_like import TT_COROUTINE, TT_MP, background_task, task_supervisor
from tests.guarantees import functions


async def coroutine():
    await asyncio.sleep(0)


def switches(me):
    # of all threads but the one that measures, and of all that descend from this process
    found, waiting = {}, [os.getpid()]
    while waiting:
        pid = waiting.pop()
        for folder in glob.glob("/proc/%d/task/*" % pid):
            thread = int(folder.rsplit("/", 1)[1])
            if thread != me:
                with open(folder + "/status") as file:
                    text = file.read()
                counts = [int(count) for count in re.findall(r"ctxt_switches:\s*(\d+)", text)]
                name = re.search(r"Name:\s*(.*)", text).group(1)
                state = re.search(r"State:\s*(\w)", text).group(1)
                found[pid, thread, name] = tuple(counts), state
            with open(folder + "/children") as file:
                waiting += map(int, file.read().split())
    return found


def measure(seconds):
    me = threading.get_native_id()
    never, deadline = threading.Event(), monotonic() + 10
    while True:         # until all sleep, and have done so twice in a row
        before = switches(me)
        never.wait(0.1)
        after = switches(me)
        if before == after and all(state == "S" for _, state in after.values()):
            break
        assert monotonic() < deadline, "it does not come to rest: %r" % after
    never.wait(seconds)
    last = switches(me)
    return len(last), {key: (after[key][0], last.get(key))
                       for key in after if last.get(key) != after[key]}


if __name__ == "__main__":
    supervisor = task_supervisor
    supervisor.set_thread_pool(4)
    supervisor.set_mp_pool(2)
    threads = [background_task(len)("abc") for _ in range(50)]
    slow = background_task(len, timeout=1000, retries=3, delay=0.001)("abc")
    processes = [supervisor.put_task(functions.echo, (1,), tt=TT_MP) for _ in range(50)]
    late = background_task(functions.echo, tt=TT_MP, timeout=1000)(1)
    loop = supervisor.put_task(coroutine, tt=TT_COROUTINE)
    waiting = background_task(len, delay=1000)("abc")
    for task in [*threads, slow, *processes, late, loop]:
        task.wait(10)
    threads, moved = measure(2.0)
    # timer, event loop, result pipes, a pool thread, two processes and their server at least
    assert threads >= 7, threads
    print(moved)
    waiting.cancel()
    supervisor.stop()
"""


def made_ahead(items, folder):
    yield "idle", run_script, IDLE


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/task/%d/children" % os.getpid()),
                    reason="counts context switches where Linux says them")
def test_an_idle_supervisor_with_both_pools_used_does_not_wake_up_once(ahead):
    assert ahead("idle").strip() == "{}"


#: Calls that end by themselves when they are given a number.
WAITS = {"wait", "join", "acquire", "get", "poll", "select", "sleep", "wait_for"}


@pytest.mark.slow
def test_no_wait_of_the_package_has_a_period_written_into_it():
    """No sleep at all, and no wait in a loop that ends after a fixed number of seconds to look
    again."""
    wrong = []
    for path, _, tree in sources():
        if path.startswith("demo") or path == "pytest_plugin.py":
            continue
        for loop in [node for node in ast.walk(tree)
                     if isinstance(node, (ast.While, ast.For))] + [tree]:
            for node in ast.walk(loop):
                if not isinstance(node, ast.Call):
                    continue
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                values = list(node.args) + [keyword.value for keyword in node.keywords]
                fixed = any(isinstance(value, ast.Constant) and type(value.value) in (int, float)
                            and value.value > 0
                            for value in values)
                if name == "sleep" or (loop is not tree and name in WAITS and fixed):
                    wrong.append("%s:%d" % (path, node.lineno))
    assert not wrong, "polls at " + ", ".join(sorted(set(wrong)))
