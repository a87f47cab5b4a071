"""Engines whose workers cannot run calls: each call fails with the cause, and the rest goes on."""
import json
import os
import subprocess
import sys

import pytest

from tests.support import ROOT
from tests.support.scripts import run_script

from .clusters import dask_cluster, path_without_package

pytestmark = [pytest.mark.gate, pytest.mark.slow, pytest.mark.timeout(240)]

#: An interpreter of another version of Python with the same version of distributed.
OTHER_PYTHON = os.environ.get("INTEROP_PYTHON")

VERSIONS = """
import sys, distributed
print("%d.%d" % sys.version_info[:2], distributed.__version__)
"""

BEGIN = """
import json, sys
from atasker_like import TT_MP, background_task, task_supervisor

def script_function(x):
    return x + 1

def outcome(function, *args):
    task = background_task(function, tt=TT_MP)(*args)
    error = task.exception(60)
    return task.value() if error is None else [type(error).__name__, str(error)]
"""

DASK = BEGIN + """
if __name__ == "__main__":
    from distributed import Client
    found = {}
    with Client(scheduler_file=sys.argv[1]) as client:
        client.wait_for_workers(int(sys.argv[2]), timeout=60)
        task_supervisor.mp_pool = client.get_executor()
        found["slots"] = task_supervisor.get_info().mp_pool_size
        for name, function, args in (
                ("module", pow, (2, 5)), ("lambda", lambda x: x + 1, (1,)),
                ("script", script_function, (1,)), ("data", repr, (script_function,))):
            found[name] = outcome(function, *args)
        found["engine"] = client.submit(pow, 2, 6).result(60)
        found["workers"] = len(client.scheduler_info()["workers"])
        found["complete"] = task_supervisor.stop(wait=10).complete
    print(json.dumps(found))
"""


def is_missing_package(outcome, engine):
    return (outcome[0] == "PoolBrokenError"
            and "of the executor %s cannot import atasker_like" % engine in outcome[1]
            and "install the package" in outcome[1])


@pytest.mark.parametrize("scheduler_has_it", [True, False])
def test_call_fails_where_workers_of_dask_lack_the_package(tmp_path, scheduler_has_it):
    pytest.importorskip("distributed")
    path = path_without_package(tmp_path / "path")
    with dask_cluster(tmp_path, scheduler_path=ROOT if scheduler_has_it else path,
                      worker_path=path) as found_in:
        found = json.loads(run_script(DASK, found_in, 2).splitlines()[-1])
    for kind in "module", "lambda", "script", "data":
        assert is_missing_package(found.pop(kind), "ClientExecutor")
    assert found == {"slots": 2, "engine": 64, "workers": 2, "complete": True}


def test_code_fails_where_workers_of_dask_have_another_python(tmp_path):
    pytest.importorskip("distributed")
    if OTHER_PYTHON is None:
        pytest.skip("INTEROP_PYTHON names no interpreter of another version with distributed")
    (here, of_dask), (version, of_workers) = (
        subprocess.check_output([python, "-c", VERSIONS], universal_newlines=True).split()
        for python in (sys.executable, OTHER_PYTHON))
    assert version != here
    if of_workers != of_dask:
        pytest.skip("distributed %s and %s do not understand each other" % (of_dask, of_workers))
    with dask_cluster(tmp_path, python=OTHER_PYTHON) as found_in:
        found = json.loads(run_script(DASK, found_in, 2).splitlines()[-1])
    for kind in "lambda", "script", "data":
        name, text = found.pop(kind)
        assert name == "TaskPicklingError"
        assert "its code was sent from Python " + here in text
        assert "the worker runs Python " + version in text
    assert found == {"slots": 2, "module": 32, "engine": 64, "workers": 2, "complete": True}


RAY = BEGIN + """
import os
from concurrent.futures import Executor

if __name__ == "__main__":
    import ray
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
             _node_ip_address="127.0.0.1",
             runtime_env={"env_vars": {"PYTHONPATH": sys.argv[1]}})

    @ray.remote
    def call(function, args):
        return function(*args)

    class RayExecutor(Executor):
        _max_workers = 1

        def submit(self, function, *args):
            return call.remote(function, args).future()

    task_supervisor.mp_pool = RayExecutor()
    found = {"module": outcome(pow, 2, 5), "lambda": outcome(lambda x: x + 1, 1)}
    found["engine"] = ray.get(call.remote(pow, (2, 6)))
    found["complete"] = task_supervisor.stop(wait=10).complete
    ray.shutdown()
    print(json.dumps(found))
"""


def test_call_fails_where_workers_of_ray_lack_the_package(tmp_path):
    pytest.importorskip("ray")
    path = path_without_package(tmp_path / "path")
    found = json.loads(run_script(RAY, path).splitlines()[-1])
    for kind in "module", "lambda":
        assert is_missing_package(found.pop(kind), "RayExecutor")
    assert found == {"engine": 64, "complete": True}
