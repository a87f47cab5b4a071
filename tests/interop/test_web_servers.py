"""The applications of docs/examples/web under the servers that their pages name: accepted tasks
finish at SIGTERM, each starts once, and no process is left."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from time import monotonic

import pytest

from tests.support import PATIENCE, PROGRAM_PATIENCE, ROOT
from tests.support.scripts import lines

EXAMPLES = pathlib.Path(ROOT) / "docs" / "examples" / "web"

#: Functions that end when the test opens the gate, and record what they do.
REPORTS = """
import os

def record(*words):
    with open("record", "a") as file:
        file.write("-".join(map(str, words)) + "\\n")

def write(number):
    record("begin", "write", number)
    open("gate").close()
    record("end", "write", number)

def count(number):
    record("begin", "count", number)
    open("gate").close()
    record("end", "count", number)

def add_up(number):
    return number + 1

def beat():
    record("beat", os.getpid())
"""

GUNICORN = "-m gunicorn --bind 127.0.0.1:{port} --workers 2 --timeout 120 "
UVICORN = "-m uvicorn fastapi_app:app --host 127.0.0.1 --port {port}"

SERVERS = {
    "uvicorn": UVICORN,
    "uvicorn-workers": UVICORN + " --workers 2 --timeout-worker-healthcheck 120",
    "gunicorn-uvicorn": GUNICORN + "-k uvicorn_worker.UvicornWorker fastapi_app:app",
    "gunicorn-uvicorn-preload":
        GUNICORN + "--preload -k uvicorn_worker.UvicornWorker fastapi_app:app",
    "flask": "flask_app.py",
    "django": "django_app.py runserver --noreload 127.0.0.1:{port}",
}
for application in ("flask_app:app", "django_app:application"):
    for kind in ("sync", "gthread"):
        for preload in ("", "--preload "):
            name = "-".join(["gunicorn", kind, application.partition("_")[0]])
            SERVERS[name + preload.replace("--", "-").strip()] = "%s%s-k %s %s" % (
                GUNICORN, preload, kind, application)

NEEDED = {"flask": ["flask"], "django": ["django"], "uvicorn": ["fastapi", "uvicorn"],
          "gunicorn": ["gunicorn"]}


class Server:
    """A server in a session of its own."""

    def __init__(self, folder, command):
        for part in NEEDED:
            if part in command:
                for module in NEEDED[part]:
                    pytest.importorskip(module)
        self.folder = folder
        for path in EXAMPLES.iterdir():
            if path.is_file():
                shutil.copy(str(path), str(folder))
        (folder / "reports.py").write_text(REPORTS)
        os.mkfifo(str(folder / "gate"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = open(str(folder / "log"), "wb")
        self.process = subprocess.Popen(
            [sys.executable, *command.format(port=self.port).split()], cwd=str(folder),
            stdout=self.log, stderr=self.log, start_new_session=True,
            env=dict(os.environ, PYTHONPATH=ROOT, PORT=str(self.port)))

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        self.log.close()

    def request(self, method, path):
        url = "http://127.0.0.1:%d/%s" % (self.port, path)
        request = urllib.request.Request(url, method=method)
        with urllib.request.urlopen(request, timeout=PROGRAM_PATIENCE) as answer:
            return json.loads(answer.read().decode())

    def wait_until_up(self):
        self.wait(self.listens, "is up")

    def listens(self):
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def record(self):
        return sorted(lines(str(self.folder / "record")))

    def processes(self):
        """Return the ids of the processes of the server that have not ended."""
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self.process.pid and fields[0] not in "ZX":
                found.append(int(path.parent.name))
        return found

    def wait(self, condition, what):
        deadline = monotonic() + 2 * PROGRAM_PATIENCE
        never = threading.Event()
        while not condition():
            assert monotonic() < deadline, "not in time: " + what + "\n" + self.printed()
            never.wait(0.02)

    def printed(self):
        return (self.folder / "log").read_text()[-4000:]


@pytest.mark.gate
@pytest.mark.slow
@pytest.mark.timeout(5 * PROGRAM_PATIENCE)
@pytest.mark.parametrize("name", SERVERS)
def test_accepted_tasks_finish_at_sigterm(name, tmp_path):
    with Server(tmp_path, SERVERS[name]) as server:
        server.wait_until_up()
        assert server.request("GET", "sums/4") == {"sum": 5}
        for number in range(4):
            assert server.request("POST", "reports/%d" % number) == {"accepted": number}
        server.wait(lambda: server.record(), "a task begins")
        server.process.terminate()
        threading.Event().wait(0.5)         # a server that loses tasks loses them now
        gate = os.open(str(tmp_path / "gate"), os.O_RDWR)
        try:
            server.wait(lambda: server.process.poll() is not None, "the server ends")
        finally:
            os.close(gate)
        assert server.record() == sorted(
            "%s-%s-%d" % (event, function, number) for event in ("begin", "end")
            for function in ("write", "count") for number in range(4)), server.printed()
        assert server.process.returncode in (0, -signal.SIGTERM), server.printed()
        assert "Traceback" not in server.printed()
        server.wait(lambda: not server.processes(), "no process is left")


CONFIGURATION = """
import reports
from atasker_like import background_worker, task_supervisor

beat = background_worker(interval=0.02)(reports.beat)

def %s(its):
    beat.start()

def worker_exit(server, worker):
    task_supervisor.stop(wait=25)
"""


@pytest.mark.gate
@pytest.mark.slow
@pytest.mark.timeout(5 * PROGRAM_PATIENCE)
@pytest.mark.parametrize("hook, preload", [
    ("when_ready", ""), ("when_ready", "--preload "), ("post_worker_init", "")])
def test_a_worker_starts_once_per_server_or_process(hook, preload, tmp_path):
    command = GUNICORN + preload + "--config beats.py flask_app:app"
    (tmp_path / "beats.py").write_text(CONFIGURATION % hook)
    with Server(tmp_path, command) as server:
        server.wait_until_up()
        assert server.request("GET", "sums/4") == {"sum": 5}
        processes = 1 if hook == "when_ready" else 2
        seen = len(server.record())
        server.wait(lambda: len(server.record()) >= seen + 10
                    and len(set(server.record())) >= processes, "it runs everywhere")
        server.process.terminate()
        server.wait(lambda: server.process.poll() is not None, "the server ends")
        pids = {int(line.partition("-")[2]) for line in server.record()}
        assert len(pids) == processes
        assert (server.process.pid in pids) is (hook == "when_ready")
        server.wait(lambda: not server.processes(), "no process is left")
