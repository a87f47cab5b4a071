"""A service as people wrote them for atasker: it polls meters, stores what they say, and keeps
statistics.

    python3 -m atasker_like exec docs/examples/meters.py /tmp/meters.db

It ends with SIGTERM or Ctrl-C, and has stored by then all that it has accepted: it prints how many
readings these were. All names are atasker's; nothing in here knows what runs it.
"""
import math
import signal
import sqlite3
import sys
import threading

from atasker import (TASK_HIGH, TASK_LOW, BackgroundIntervalWorker, FunctionCollection, Locker,
                     background_task, background_worker, task_supervisor, wait_completed)

METERS = ("boiler", "kitchen", "roof", "garden")
POLL_INTERVAL = 0.02
STATISTICS_INTERVAL = 0.1
SUMMARY_EVERY = 40      # readings
LAST = object()         # what is put behind the last reading

startup = FunctionCollection()
shutdown = FunctionCollection(on_error=lambda: say("a part of the shutdown failed"))
database_lock = Locker(mod="database", timeout=30)
# two threads that print at once may share a line
output_lock = Locker(mod="output", timeout=30)
stop_requested = threading.Event()
all_stored = threading.Event()


class State:
    """What the workers share."""

    path = ""
    database = None
    accepted = 0        # counted by the poller alone, which never runs twice at once
    stored = 0


@output_lock
def say(*words):
    print(*words, flush=True)


# -- the workers -----------------------------------------------------------------------------------


@background_task
def read_meter(name, moment):
    """Stands for a slow device on a slow line."""
    return name, moment, 20 + 5 * math.sin(moment / 50 + len(name))


@background_worker(interval=POLL_INTERVAL, priority=TASK_HIGH)
def poll(**kwargs):
    """Ask all meters at once, and accept what they say."""
    moment = State.accepted // len(METERS)
    for reading in wait_completed([read_meter(name, moment) for name in METERS]):
        State.accepted += 1
        store.put_threadsafe((State.accepted,) + reading)


@background_worker(q=True)
def store(item, **kwargs):
    """Write one reading."""
    if item is LAST:
        all_stored.set()
        return
    with database_lock:
        State.database.execute("INSERT INTO readings VALUES (?, ?, ?, ?)", item)
        State.database.commit()
        State.stored += 1
    if State.stored % SUMMARY_EVERY == 0:
        summarize.trigger_threadsafe()


@background_worker(e=True, priority=TASK_LOW)
def summarize(**kwargs):
    """Note how far it is."""
    with database_lock:
        count, = State.database.execute("SELECT count(*) FROM readings").fetchone()
        State.database.execute("INSERT INTO summaries VALUES (?)", (count,))
        State.database.commit()
    say("stored", count)


class Statistics(BackgroundIntervalWorker):
    """Computes in the process pool: its ``run`` is a static method."""

    @staticmethod
    def run(path, **kwargs):
        database = sqlite3.connect(path, timeout=30)
        try:
            values = [value for value, in database.execute("SELECT value FROM readings")]
        finally:
            database.close()
        mean = math.fsum(values) / len(values) if values else 0.0
        return len(values), mean, math.sqrt(math.fsum((value - mean) ** 2
                                                      for value in values) / max(1, len(values)))

    def process_result(self, result):
        say("computed {} mean {:.3f} deviation {:.3f}".format(*result))


statistics = Statistics(name="statistics", interval=STATISTICS_INTERVAL)


# -- the beginning and the end ---------------------------------------------------------------------


@startup(priority=1)
def open_database():
    State.database = sqlite3.connect(State.path, check_same_thread=False)
    State.database.execute("PRAGMA journal_mode = WAL")
    State.database.execute("CREATE TABLE readings (number INTEGER PRIMARY KEY, meter TEXT, moment "
                           "INTEGER, value REAL)")
    State.database.execute("CREATE TABLE summaries (count INTEGER)")
    State.database.commit()


@startup(priority=2)
def start_workers():
    for worker in (store, summarize, poll):
        worker.start()
    statistics.start(State.path)


@shutdown(priority=1)
def accept_no_more():
    poll.stop()
    statistics.stop()


@shutdown(priority=2)
def store_the_rest():
    store.put_threadsafe(LAST)
    all_stored.wait()
    store.stop()
    summarize.stop()


@shutdown(priority=3)
def close_database():
    State.database.close()


def request_stop(signum, frame):
    stop_requested.set()


def main(path):
    State.path = path
    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, request_stop)
    task_supervisor.set_thread_pool(pool_size=4, reserve_normal=2, reserve_high=2)
    task_supervisor.set_mp_pool(pool_size=1, reserve_normal=1)
    task_supervisor.start()
    startup()
    stop_requested.wait()
    _, in_order = shutdown.execute()
    task_supervisor.stop()
    say("accepted", State.accepted)
    return 0 if in_order else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
