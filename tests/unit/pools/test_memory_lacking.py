"""Large buffers for which a program or a process has no room: only the task concerned fails."""
import json
import shutil
import subprocess
import sys

import pytest

from tests.support import PROGRAM_PATIENCE, ROOT
from tests.support.scripts import run_script

pytestmark = [pytest.mark.gate, pytest.mark.slow,
              pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc, and mounts")]

MB = 1 << 20

PROGRAM = """
import json, os, resource, sys
from atasker_like import TT_MP, background_task, shared, task_supervisor
from tests.support import arrays
from tests.unit.pools.test_memory_lacking import MB, limit_memory, make

def outcome(function, *args):
    error = background_task(function, tt=TT_MP)(*args).exception(30)
    return "ok" if error is None else [type(error).__name__, str(error)]

def copy(size):
    try:
        return repr(shared(arrays.large(1, size))) and "ok"
    except OSError as error:
        return ["OSError", str(error)]

if __name__ == "__main__":
    before = set(os.listdir("/dev/shm"))
    found = {}
%s
    found["look"] = outcome(arrays.look, arrays.large(1, 2 * MB))
    found["make"] = outcome(make, 2 * MB)
    found["complete"] = task_supervisor.stop(wait=10).complete
    # Other programs make files there meanwhile; a file of the package has its name.
    found["left"] = sorted(name for name in set(os.listdir("/dev/shm")) - before
                           if "atasker_like" in name)
    print(json.dumps(found))
"""

#: What follows the shortage, in each program.
WHOLE = {"look": "ok", "make": "ok", "complete": True, "left": []}


def limit_memory(size):
    """Leave so many bytes of address space to this process."""
    import resource

    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + size, resource.RLIM_INFINITY))


def make(size):
    from tests.support.arrays import large

    return large(3, size)


def found_by(body, run=run_script):
    lines = "\n".join("    " + line for line in body.splitlines())
    return json.loads(run(PROGRAM % lines))


def is_pickling_error(outcome, word):
    return outcome[0] == "TaskPicklingError" and word in outcome[1]


def test_process_without_room_for_arguments_fails_the_task_only():
    found = found_by("""\
task_supervisor.set_mp_pool(1, initializer=limit_memory, initargs=(100 * MB,))
found["array"] = outcome(arrays.look, arrays.large(1, 300 * MB))
found["shared"] = outcome(arrays.look, shared(arrays.large(1, 300 * MB)))
""")
    for kind in "array", "shared":
        assert is_pickling_error(found.pop(kind), "Cannot allocate memory")
    assert found == WHOLE


def test_program_without_room_for_a_result_fails_the_task_only():
    found = found_by("""\
task_supervisor.set_mp_pool(1)
found["first"] = outcome(make, 2 * MB)
limit_memory(100 * MB)
found["result"] = outcome(make, 300 * MB)
found["copy"] = copy(60 * MB)
""")
    assert is_pickling_error(found.pop("result"), "Cannot allocate memory")
    assert found.pop("copy") == ["OSError", "[Errno 12] Cannot allocate memory"]
    assert found.pop("first") == "ok" and found == WHOLE


def test_full_folder_of_shared_memory_fails_the_task_only(tmp_path):
    def run(text):
        program = tmp_path / "program.py"
        program.write_text(text)
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=4m tmpfs /dev/shm && exec \"$@\"",
             "sh", sys.executable, str(program)], cwd=ROOT, timeout=PROGRAM_PATIENCE,
            env={"PYTHONPATH": ROOT, "PATH": "/usr/bin:/bin"}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, universal_newlines=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    if shutil.which("unshare") is None or subprocess.call(
            ["unshare", "-m", "true"], stderr=subprocess.DEVNULL):
        pytest.skip("this user may not mount a folder of its own")
    # without memfd_create(), which needs no folder
    found = found_by("""\
if hasattr(os, "memfd_create"):
    del os.memfd_create
task_supervisor.set_mp_pool(1)
found["array"] = outcome(arrays.look, arrays.large(1, 30 * MB))
found["copy"] = copy(60 * MB)
""", run)
    assert is_pickling_error(found.pop("array"), "No space left on device")
    assert found.pop("copy") == ["OSError", "[Errno 28] No space left on device"]
    assert found == WHOLE
