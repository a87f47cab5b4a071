"""The programs of the documentation run, and keep what they promise."""
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from tests import support
from tests.support import PROGRAM_PATIENCE
from tests.support.scripts import without_late

ROOT = pathlib.Path(support.ROOT)
EXAMPLES = ROOT / "docs" / "examples"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGTERM")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_meters_lose_nothing(tmp_path, signum):
    """It is stopped when each of its parts has been at work; what it says it accepted is what is in
    its database."""
    path = str(tmp_path / "meters.db")
    with subprocess.Popen([sys.executable, "-m", "atasker_like", "exec",
                           str(EXAMPLES / "meters.py"), path],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
                          cwd=str(ROOT),
                          env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1")) as program:
        watchdog = threading.Timer(PROGRAM_PATIENCE, program.kill)
        watchdog.start()
        try:
            lines = []
            for line in program.stdout:
                lines.append(line.split())
                if (sum(words[0] == "stored" for words in lines) >= 3
                        and sum(words[0] == "computed" and words[1] != "0"
                                for words in lines) >= 3):
                    break
            program.send_signal(signum)
            rest, errors = program.communicate()
        finally:
            watchdog.cancel()
            watchdog.join()
    assert (program.returncode, without_late(errors)) == (0, "")
    lines += [line.split() for line in rest.splitlines()]
    assert lines[-1][0] == "accepted"
    accepted = int(lines[-1][1])
    with closing(sqlite3.connect(path)) as database:
        numbers = [number for number,
                   in database.execute("SELECT number FROM readings ORDER BY number")]
        summaries = [count for count, in database.execute("SELECT count FROM summaries")]
    assert numbers == list(range(1, accepted + 1))
    assert accepted >= 3 * 40
    assert summaries == sorted(summaries)
    assert [str(count) for count in summaries] == [words[1] for words in lines
                                                   if words[0] == "stored"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Unix domain sockets, SIGTERM")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_service_and_its_client_are_two_programs(tmp_path, signum):
    """The client finds what it was told it would; the service ends in order, and leaves no socket
    behind."""
    path = str(tmp_path / "lab.sock")
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", PYTHONPATH=str(ROOT))
    with subprocess.Popen([sys.executable, str(EXAMPLES / "laboratory.py"), path],
                          stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True,
                          env=environment) as laboratory:
        watchdog = threading.Timer(PROGRAM_PATIENCE, laboratory.kill)
        watchdog.start()
        try:
            assert laboratory.stdout.readline() == f"listening at unix:{path}\n"
            experiment = subprocess.run([sys.executable, str(EXAMPLES / "experiment.py"), path],
                                        stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, universal_newlines=True,
                                        env=environment, timeout=PROGRAM_PATIENCE)
            shell = subprocess.run([sys.executable, "-m", "atasker_like", "send", path, "Calibrate",
                                    "qubit=9"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   universal_newlines=True,
                                   env=environment, timeout=PROGRAM_PATIENCE)
            laboratory.send_signal(signum)
            rest, errors = laboratory.communicate()
        finally:
            watchdog.cancel()
            watchdog.join()
    assert (experiment.returncode, without_late(experiment.stderr)) == (0, "")
    assert experiment.stdout.splitlines() == [
        "found [5.0, 5.420735, 5.454649]", "urgent {'qubit': 7, 'frequency': 5.656987}",
        "simulated 3",
        "not sent: field span of Calibrate takes a number, not 'wide'", "done 4"]
    assert (shell.returncode, shell.stdout) == (2, "")
    assert "Calibrate is refused: there are qubits 0 to 7" in shell.stderr
    assert (laboratory.returncode, rest, without_late(errors)) == (0, "calibrated 4\n", "")
    assert not os.path.exists(path)
