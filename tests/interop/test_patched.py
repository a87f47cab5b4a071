"""Programs whose standard library gevent or eventlet has patched, before or after the import."""
import ast

import pytest

from tests.support.scripts import run_script

PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all(%s)",
    "eventlet": "import eventlet; eventlet.monkey_patch(%s)",
}

#: What is left out of the patch, and what can work then: tasks in processes, and coroutines.
KINDS = {
    "gevent": {"": (True, True), "thread=False": (True, True), "select=False": (False, False),
               "os=False, signal=False, subprocess=False": (True, True),
               "time=False": (True, True)},
    "eventlet": {"": (False, True), "thread=False": (False, True), "select=False": (False, False),
                 "os=False": (False, True), "time=False": (False, True)},
}

PROGRAM = """
import sys, warnings
warnings.simplefilter("ignore")
if "{when}" == "before":
    {patch}
import threading
from time import monotonic
from atasker_like import TT_MP, Task, as_completed, background_task, task_supervisor, wait_completed
if "{when}" == "after":
    {patch}
from tests.contract import functions as f

async def co_add(a, b):
    return a + b

def nested():
    return background_task(f.add)(3, 4).value(10)

tries = []

def flaky():
    tries.append(1)
    if len(tries) < 3:
        raise ValueError(len(tries))
    return len(tries)

def outcome(bound):
    begin = monotonic()
    try:
        return bound(3, 4).value(40)
    except Exception as error:
        return type(error).__name__, str(error), monotonic() - begin

if __name__ == "__main__":
    lock, counted = threading.Lock(), []

    def count():
        for _ in range(100):
            with lock:
                counted.append(1)

    add = background_task(f.add)
    never = threading.Event()
    told = []
    found = {{"type": type(add(3, 4)) is Task}}
    found["plain"] = add(3, 4).value(10)
    found["map"] = list(add.map(range(20))) == list(range(20))
    found["many"] = sum(wait_completed([add(number) for number in range(100)], timeout=10))
    found["priority"] = background_task(f.add, priority=0)(3, 4).value(10)
    found["delay"] = background_task(f.add, delay=0.05)(3, 4).value(10)
    found["timeout"] = type(background_task(never.wait, timeout=0.1)(30).exception(10)).__name__
    found["retries"] = background_task(flaky, retries=3, retry_delay=0.01)().value(10)
    found["callback"] = background_task(f.add, callback=told.append)(3, 4).value(10), told
    one = task_supervisor.lane("one", limit=1)
    found["lane"] = list(background_task(f.add, lane=one).map(range(5)))
    found["nested"] = background_task(nested)().value(10)
    wait_completed([background_task(count)() for _ in range(5)], timeout=10, strict=True)
    found["locks"] = len(counted)
    completed = as_completed([add(number) for number in range(5)], timeout=10)
    found["completed"] = sorted(task.value() for task in completed)
    found["coroutine"] = outcome(background_task(co_add))
    found["process"] = outcome(background_task(f.add, tt=TT_MP))
    never.set()
    begin = monotonic()
    found["complete"] = task_supervisor.stop(wait=10).complete
    found["stop"] = monotonic() - begin
    print(found)
"""

EXPECTED = {"type": True, "plain": 7, "map": True, "many": 4950, "priority": 7, "delay": 7,
            "timeout": "TaskTimeoutError", "retries": 3, "callback": (7, [7]),
            "lane": [0, 1, 2, 3, 4], "nested": 7, "locks": 500,
            "completed": [0, 1, 2, 3, 4], "complete": True}


@pytest.mark.gate
@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("library, left_out",
                         [(library, kind) for library in KINDS for kind in KINDS[library]])
def test_program_whose_library_is_patched_works_or_says_what_cannot(library, left_out, when):
    pytest.importorskip(library)
    patch = PATCHES[library] % left_out
    lines = run_script(PROGRAM.format(patch=patch, when=when)).splitlines()
    found = ast.literal_eval(lines[-1])
    processes, coroutines = KINDS[library][left_out]
    for kind, works in (("process", processes), ("coroutine", coroutines)):
        got = found.pop(kind)
        if works:
            assert got == 7
        else:
            assert got[0] in ("PoolBrokenError", "SupervisorError")
            assert library in got[1] and "use thread tasks" in got[1]
    assert found.pop("stop") < 8        # a busy machine takes seconds to start a process
    assert found == EXPECTED
