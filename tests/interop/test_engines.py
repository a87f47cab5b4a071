"""Engines in the position of the process pool, each where it is installed."""
import importlib
import json
import os
import shutil
import subprocess
import sys

import pytest

from .contract import CLAUSES, ENGINES

pytestmark = [pytest.mark.gate, pytest.mark.slow]


@pytest.fixture(scope="module", params=sorted(ENGINES))
def outcome(request):
    name = request.param
    try:
        importlib.import_module(ENGINES[name])
    except (ImportError, RuntimeError):         # mpi4py without an MPI library
        pytest.skip(f"{name} is not installed")
    command = [sys.executable, "-m", "tests.interop.contract", name]
    if name == "mpi":
        launcher = os.path.join(os.path.dirname(sys.executable), "mpiexec")
        launcher = launcher if os.path.exists(launcher) else shutil.which("mpiexec")
        if launcher is None:
            pytest.skip("there is no mpiexec")
        command = [launcher, "-n", "3", sys.executable, "-m", "mpi4py.futures", "-m",
                   "tests.interop.contract", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=170,
                          universal_newlines=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, done.stderr
    return json.loads(lines[-1])


@pytest.mark.parametrize("clause", [clause.__name__ for clause in CLAUSES])
def test_engine_keeps_clause(outcome, clause):
    assert outcome[clause] is True
