"""Runs cases, each in a process and a session of its own, and cleans up behind them."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from time import monotonic

from tests.plugins import prelaunch

from .implementations import SIDES
from .oracle import outliving, session_of

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Several threads start cases at once. With vfork() the system said "bad address" to one of some
# thousand of them; Python's documentation names this switch for such a case. Before 3.10 there is
# none, and no vfork().
subprocess._USE_VFORK = False

#: Seconds that the processes of a case may outlive it, and with busy cores.
OUTLIVE, BUSY = 3.0, 20.0
#: A peer that hangs is not waited for as long as this library would be.
PEER_LIMIT = 20.0

#: Characters of the end of what a case prints to stderr that its verdict keeps.
_SAID = 40_000

_running = set()        # cases that run; adding to and discarding from a set is atomic
_ending = threading.Event()


def run_case(fault, method, side="ours", seed=0, slow=False, minutes=1.0):
    """Run one case; return its verdict, a dict. A case that did not get to one counts as one lost
    task that hung."""
    folder = tempfile.mkdtemp(prefix="faults-")
    begin = monotonic()
    limit = fault.limit if SIDES[side].strict else PEER_LIMIT
    if slow:
        limit = max(limit * 5, minutes * 60 + limit)
    command = [
        sys.executable,
        "-m",
        "tests.faults.case",
        fault.key,
        method,
        "--side",
        side,
        "--seed",
        str(seed),
        "--minutes",
        str(minutes),
        "--limit",
        str(limit),
        "--folder",
        folder,
    ]
    if slow:
        command.append("--slow")
    out, err = os.path.join(folder, "out"), os.path.join(folder, "err")
    try:
        # Files, not pipes: a process that outlives the case would keep a pipe open.
        with open(out, "wb") as stdout, open(err, "wb") as stderr:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=ROOT,
                start_new_session=True,
            )
        _running.add(process)
        try:
            if _ending.is_set():
                process.kill()
            try:
                process.wait(limit + 45)
            except subprocess.TimeoutExpired:       # not even the watchdog inside came to run
                process.kill()
                process.wait()
        finally:
            _running.discard(process)
        orphans = _end_session(process.pid)
        return _verdict(
            fault, method, side, process.returncode, out, err, orphans, monotonic() - begin
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _verdict(fault, method, side, status, out, err, orphans, seconds):
    verdict = {
        "key": fault.key,
        "number": fault.number,
        "method": method,
        "side": side,
        "final": False,
        "injected": 0,
        "accepted": 0,
        "refused": 0,
        "lost": 0,
        "hung": 0,
        "duplicated": 0,
        "leaked": 0,
        "skipped": None,
        "violations": [],
    }
    with open(out) as file:
        for line in file:
            verdict = json.loads(line)
    with open(err, errors="replace") as file:
        said = file.read()
    violations = verdict["violations"]
    if not verdict["final"]:
        if not verdict["lost"]:
            verdict["lost"] = verdict["hung"] = 1
        violations.append("A: the case came to no end of its own (exit status %s)" % status)
    elif status != 0:
        violations.append("E: the interpreter ended with exit status %s" % status)
    if orphans and SIDES[side].strict:
        verdict["leaked"] += len(orphans)
        violations.append("E: outlived the case: " + ", ".join(orphans))
    verdict.update(seconds=seconds, said=said[-_SAID:], ok=not violations)
    return verdict


def _end_session(session):
    """Wait for the processes of a case to end, end those that do not; return what they were."""
    from .oracle import command

    found = []
    for pid in outliving(lambda: session_of(session), OUTLIVE, BUSY)[0]:
        found.append("process %d (%s)" % (pid, command(pid)))
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return found


def end_all():
    """End the cases that run, or are just being started, with their processes: the harness itself
    is being ended."""
    _ending.set()
    for process in list(_running):
        with suppress(OSError):
            process.kill()
        for pid in session_of(process.pid):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


prelaunch.ENDERS.append(end_all)
