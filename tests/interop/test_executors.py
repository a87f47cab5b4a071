"""Executors of other libraries in the place of the process pool; each in a program of its own,
where it is installed."""
import pytest

from tests.support.scripts import run_script

PROGRAM = """
from atasker_like import TT_MP, background_task, task_supervisor
from tests.contract import functions as f

def main(executor):
    task_supervisor.mp_pool = executor
    add, fail = (background_task(function, tt=TT_MP) for function in (f.add, f.fail))
    print(list(add.map(range(5))), task_supervisor.get_info().mp_pool_size)
    error = fail("far away").exception(15)
    print(type(error).__name__, "in fail" in str(error.__cause__))
    task_supervisor.stop(wait=15)
"""

LOKY = """
import loky
executor = loky.ProcessPoolExecutor(2)
main(executor)
executor.shutdown()
"""

PEBBLE = """
import pebble, time
with pebble.ProcessPool(max_workers=2) as executor:
    main(executor)
    task_supervisor.start()
    task = background_task(time.sleep, tt=TT_MP, timeout=0.2)(1000)
    assert "timeout of 0.2 s" in str(task.exception(15))
    task_supervisor.stop(wait=15)
"""

DASK = """
from distributed import Client
if __name__ == "__main__":
    with Client(n_workers=1, threads_per_worker=2, dashboard_address=None,
                processes=False) as client:
        main(client.get_executor())
"""


@pytest.mark.slow
@pytest.mark.parametrize("library, program",
                         [("loky", LOKY), ("pebble", PEBBLE), ("distributed", DASK)])
def test_executor(library, program):
    pytest.importorskip(library)
    lines = run_script(PROGRAM + program).splitlines()
    assert lines[0].startswith("[0, 1, 2, 3, 4]")
    assert lines[1:] == ["ValueError True"]
