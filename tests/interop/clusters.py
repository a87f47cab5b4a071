"""Engines that a test starts by hand, with interpreters of its choice."""
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from time import monotonic

from tests.support import PROGRAM_PATIENCE, ROOT

#: Hides the package from an interpreter, however its path changes later.
SITE = """
import sys

class NoPackage:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "atasker_like":
            raise ModuleNotFoundError("No module named 'atasker_like'", name=name)

sys.meta_path.insert(0, NoPackage)
"""


def path_without_package(folder):
    """Make a folder to put into PYTHONPATH, so that this package cannot be imported."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SITE)
    return str(folder)


@contextmanager
def dask_cluster(folder, workers=2, python=sys.executable, scheduler_path=ROOT, worker_path=ROOT):
    """A scheduler and workers of one thread each, as one starts them by hand; gives the address.

    :param python: the interpreter of the workers.
    """
    found = folder / "scheduler.json"
    log = open(str(folder / "log"), "wb")

    def start(interpreter, module, path, *options):
        return subprocess.Popen(
            [interpreter, "-m", "distributed.cli." + module, "--no-dashboard", "--host",
             "127.0.0.1", "--scheduler-file", str(found), *options],
            env=dict(os.environ, PYTHONPATH=path), cwd=str(folder), stdout=log, stderr=log)

    started = [start(sys.executable, "dask_scheduler", scheduler_path, "--port", "0")]
    try:
        deadline = monotonic() + PROGRAM_PATIENCE
        never = threading.Event()
        while not found.exists():
            assert monotonic() < deadline, (folder / "log").read_text()
            never.wait(0.05)
        started += [start(python, "dask_worker", worker_path, "--nthreads", "1", "--no-nanny")
                    for _ in range(workers)]
        yield str(found)
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(PROGRAM_PATIENCE / 4)
            except subprocess.TimeoutExpired:       # a worker may hang when its scheduler ends
                process.kill()
                process.wait()
        log.close()
