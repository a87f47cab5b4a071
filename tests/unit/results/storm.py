"""Kill processes that store results, again and again, at any point of their work.

Run it as ``python3 -m tests.unit.results.storm PATH KILLS SEED``. No result that a process has
reported as stored may be missing, and none may be damaged. It prints the number of reported results
and all errors; with errors its exit status is 1. Each process is a fork of this one, which has no
threads and no open file of the store.
"""
import json
import os
import random
import select
import signal
import sqlite3
import sys
from contextlib import closing
from time import monotonic

from atasker_like import SQLiteBackend, StoredResult, TaskState, TaskSupervisor
from tests.support import PROGRAM_PATIENCE

#: Characters of values: most of a page's part, some of several pages.
SIZES = [1, 1, 50, 500, 3000, 20_000]


def value_of(number, letter, size):
    return {"number": number, "text": letter * size}


def store(path, report, name, chance):
    """The process to kill: its tasks flush their results, and it replaces one without end."""
    backend = SQLiteBackend(path)
    supervisor = TaskSupervisor(pool_size=2)
    supervisor.set_result_backend(backend)
    number = 0
    while True:
        tasks = {}
        for _ in range(chance.choice([1, 3, 30])):
            number += 1
            asked = number, chance.choice("abc"), chance.choice(SIZES)
            tasks[f"{name}-{number}"] = asked
            supervisor.put_task(value_of, asked, task_id=f"{name}-{number}")
        for task_id in tasks:
            task = supervisor.get_task(task_id)
            if task is not None:
                task.wait()
        backend.flush()
        lines = [json.dumps([task_id, *asked]) for task_id, asked in tasks.items()]
        asked = number, chance.choice("abc"), chance.choice(SIZES)
        result = StoredResult(f"{name}-last", TaskState.SUCCESS, value_of(*asked))
        backend.write([(result.task_id, backend.codec.encode(result))])
        lines.append(json.dumps([result.task_id, *asked]))
        os.write(report, "".join(line + "\n" for line in lines).encode())


def read_until_killed(pid, source, chance):
    """Read the reports of a process, kill it at a random point, and return all complete lines."""
    received = b""
    wanted = chance.choice([0, 1, 200, 2000])           # bytes
    patient = monotonic() + PROGRAM_PATIENCE
    while len(received) < wanted:
        if not select.select([source], [], [], max(0, patient - monotonic()))[0]:
            break
        received += os.read(source, 1 << 16)
    moment = monotonic() + chance.uniform(0, 0.01 if wanted else 0.05)
    while select.select([source], [], [], max(0, moment - monotonic()))[0] and monotonic() < moment:
        received += os.read(source, 1 << 16)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while True:
        more = os.read(source, 1 << 16)
        if not more:
            lines = [json.loads(line) for line in received.split(b"\n")[:-1]]
            return lines, len(received) >= wanted
        received += more


def missing(path, reported):
    """Return the errors of the results that were reported as stored, and of the file itself."""
    wrong = []
    with SQLiteBackend(path) as backend, closing(sqlite3.connect(path)) as database:
        for task_id, (number, letter, size) in reported.items():
            found = backend.find(task_id)
            kept = found.result if found.state is TaskState.SUCCESS else None
            later = task_id.endswith("-last") and kept is not None and kept["number"] >= number
            if not later and kept != value_of(number, letter, size):
                wrong.append(f"{task_id} is {str(found)[:100]}")
        for task_id, text in database.execute("SELECT task_id, data FROM results"):
            try:
                found = backend.codec.decode(task_id, text)
            except Exception as error:
                wrong.append(f"{task_id} is torn: {type(error).__name__}: {error}")
                continue
            if found.state is TaskState.SUCCESS:
                text = found.result["text"]
                if text != text[0] * len(text) or len(text) not in SIZES:
                    wrong.append(f"{task_id} is torn: {text[:50]}")
        if database.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            wrong.append("the file is damaged")
    return wrong


def main(path, kills, seed):
    chance = random.Random(seed)
    everything, wrong = {}, []
    for number in range(kills):
        source, report = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.close(source)
                store(path, report, f"p{number}", random.Random(seed + str(number)))
            finally:
                os._exit(1)
        os.close(report)
        reported, in_time = read_until_killed(pid, source, chance)
        os.close(source)
        if not in_time:
            wrong.append(f"process {number} reported nothing, or too little")
        latest = {task_id: asked for task_id, *asked in reported}
        everything.update(latest)
        if number % 50 == 49 or number == kills - 1:
            wrong += missing(path, everything)
        if wrong:
            break
    print(f"{len(everything)} results were reported stored by {number + 1} processes, seed {seed}",
          *wrong[:20], sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
