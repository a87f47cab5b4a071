"""Scripts in interpreters of their own, and what they leave: files, processes, logs."""
import os
import signal
import subprocess
import sys
import threading
from time import monotonic

import atasker_like

from . import PATIENCE, PROGRAM_PATIENCE, ROOT


def run_script(text, *arguments, **options):
    """Run a script in an interpreter of its own that finds this package and these tests; return the
    finished process."""
    return finish(start_script(text, *arguments, **options))


def start_script(text, *arguments, **options):
    """Start such a script; its stdout is a pipe. It ends itself, with the stacks of all threads,
    when it hangs."""
    root = os.path.dirname(os.path.dirname(atasker_like.__file__))
    paths = [root, ROOT]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(paths))
    armed = "import faulthandler; faulthandler.dump_traceback_later(%d, exit=True)\n" % (
        PROGRAM_PATIENCE - 5
    )
    return subprocess.Popen(
        [sys.executable, "-c", armed + text, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        env=environment,
        **options,
    )


def finish(process):
    """Wait for a script; return what it printed, or fail with what it said."""
    try:
        out, err = process.communicate(timeout=PROGRAM_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert process.returncode == 0, (process.returncode, out[-2000:], err[-4000:])
    return out


def without_late(text):
    """What was logged or written, without warnings of tasks that started late: a busy machine has
    them everywhere."""
    return "".join(line for line in text.splitlines(True) if " s after it was queued; " not in line)


def lines(path):
    """The lines of a file, none when it is not there."""
    try:
        with open(path) as file:
            return file.read().split()
    except OSError:
        return []


def gone(pid):
    """Return True if a process has ended, waited for or not."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def stop_process(supervisor, pid):
    """Freeze a pool process."""
    os.kill(pid, signal.SIGSTOP)
    with open("/proc/%d/stat" % pid) as file:       # the signal is delivered when the state says so
        deadline = monotonic() + PATIENCE
        never = threading.Event()
        while monotonic() < deadline:
            file.seek(0)
            if file.read().rsplit(")", 1)[1].split()[0] in "Tt":
                return
            never.wait(0.001)
    raise AssertionError("process %d does not stop" % pid)
