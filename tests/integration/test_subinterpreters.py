"""The package in an interpreter with a GIL of its own, from Python 3.12 on."""
import sys

import pytest

from tests.support.scripts import run_script

pytestmark = [
    pytest.mark.gate, pytest.mark.slow,
    pytest.mark.skipif(sys.version_info < (3, 12), reason="all interpreters share one GIL"),
]

#: Runs CODE in an interpreter of its own, and ends that.
PROGRAM = """
import sys

CODE = {code!r}

if sys.version_info >= (3, 14):
    from concurrent import interpreters
    made = interpreters.create()
    made.exec(CODE)
    made.close()
elif sys.version_info >= (3, 13):
    import _interpreters
    made = _interpreters.create({config!r})
    error = _interpreters.exec(made, CODE)
    assert error is None, error
    _interpreters.destroy(made)
else:
    import _xxsubinterpreters
    made = _xxsubinterpreters.create(isolated={config!r} == 'isolated')
    _xxsubinterpreters.run_string(made, CODE)
    _xxsubinterpreters.destroy(made)
print("the interpreter has ended", flush=True)
import os
os._exit(0)     # Python 3.12 may crash at its exit if an interpreter has imported asyncio
"""

SETUP = """
import sys, time
sys.path[:0] = {path!r}
from atasker_like import TT_MP, background_task, task_supervisor, wait_completed

def tell(*words):
    print(*words, flush=True)
"""


def lines_of(code, config="isolated"):
    code = SETUP.format(path=sys.path) + code
    return run_script(PROGRAM.format(code=code, config=config)).splitlines()


def test_threads_coroutines_and_processes_in_an_interpreter_with_its_own_gil_work():
    assert lines_of("""
async def co_double(number):
    return 2 * number

tell(background_task(abs)(-3).value(10))
tell(background_task(abs, timeout=10, delay=0.01, retries=2)(-4).value(10))
tell(wait_completed([background_task(abs)(-number) for number in range(5)], timeout=10))
tell(background_task(co_double)(4).value(10))
tell(background_task(pow, tt=TT_MP)(3, 2).value(20))
tell(task_supervisor.stop(wait=10).complete)
""") == ["3", "4", "[0, 1, 2, 3, 4]", "8", "9", "True", "the interpreter has ended"]


def test_end_of_an_interpreter_with_its_own_gil_finishes_what_was_accepted():
    assert lines_of("""
def late():
    time.sleep(0.2)
    tell("late")

background_task(late)()
""") == ["late", "the interpreter has ended"]


@pytest.mark.parametrize("config", ["isolated", pytest.param("legacy", marks=pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="concurrent.interpreters makes no such interpreters"))])
def test_fork_in_a_subinterpreter_fails_the_task_with_the_cause(config):
    lines = lines_of("""
task_supervisor.set_mp_pool(start_method="fork")
error = background_task(pow, tt=TT_MP)(3, 2).exception(20)
tell(type(error).__name__, "fork not supported" in str(error))
tell(background_task(abs)(-3).value(10))
""", config)
    assert lines == ["PoolBrokenError True", "3", "the interpreter has ended"]
