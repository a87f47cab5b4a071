"""The application forks while a thread of its own is in the middle of something."""
import os
import subprocess
import sys

import pytest

import atasker_like

IMPORTED = """
import os, sys
sys.imports[os.getpid()].set()
if os.getpid() == sys.parent:
    sys.gate.wait(30)
answer = 42
"""

IMPORTS = """
import os, sys, threading
from collections import defaultdict
from importlib import import_module
from atasker_like import TT_MP, task_supervisor

def answer():
    return import_module("imported").answer

sys.imports = defaultdict(threading.Event)
sys.parent = os.getpid()
sys.gate = threading.Event()
importer = threading.Thread(target=import_module, args=("imported",))
importer.start()
sys.imports[sys.parent].wait(30)
task_supervisor.set_mp_pool(pool_size=1, start_method="fork")
try:
    print(task_supervisor.put_task(answer, tt=TT_MP).value(20))
finally:
    sys.gate.set()
    importer.join()
print(answer())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_module_that_a_thread_was_importing_at_the_fork_is_imported_by_the_process(tmp_path):
    (tmp_path / "imported.py").write_text(IMPORTED)
    (tmp_path / "program.py").write_text(IMPORTS)
    root = os.path.dirname(os.path.dirname(atasker_like.__file__))
    program = subprocess.run([sys.executable, "-W", "ignore", str(tmp_path / "program.py")],
                             env=dict(os.environ, PYTHONPATH=root), stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, timeout=60)
    assert program.stdout.decode().split() == ["42", "42"]


PROGRAM = """
import os, signal, sys, threading
from math import factorial
from multiprocessing import forkserver, resource_tracker
from atasker_like import TT_MP, task_supervisor
from atasker_like.pools.process import spawn

def compute():
    return task_supervisor.put_task(factorial, (5,), tt=TT_MP).value(20)

print(compute())
locks = {"resource_tracker": lambda: resource_tracker._resource_tracker._lock,
         "forkserver": lambda: forkserver._forkserver._lock, "start": lambda: spawn._start_lock}
held, over = threading.Event(), threading.Event()

def hold():
    with locks[sys.argv[1]]():      # as a thread does that starts a process
        held.set()
        over.wait()

holder = threading.Thread(target=hold)
holder.start()
held.wait()
sys.stdout.flush()
pid = os.fork()
if not pid:
    signal.alarm(30)
    print(compute())
    task_supervisor.stop()
    sys.stdout.flush()
    os._exit(0)
status = os.waitpid(pid, 0)[1]
over.set()
holder.join()
print(status, compute())
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("lock", ["resource_tracker", "forkserver", "start"])
def test_a_fork_while_another_thread_starts_a_process(lock):
    program = subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM, lock],
                             stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, timeout=60)
    assert program.stdout.decode().split() == ["120", "120", "0", "120"]
