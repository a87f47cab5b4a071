"""A service: it counts the words of each new file in a folder until SIGTERM or Ctrl-C."""
import pathlib
import signal
import sys

from atasker_like import background_worker, task_supervisor

seen = set()
total = 0


@background_worker(interval=0.2)
def look(folder):
    """Put each new file into the queue of the other worker."""
    for path in sorted(pathlib.Path(folder).glob("*.txt")):
        if path not in seen:
            seen.add(path)
            count_words.put_threadsafe(path)


@background_worker(q=True, on_error=lambda e: print("failed:", type(e).__name__, flush=True))
def count_words(path):
    """Count one file. One run at a time, so `total` needs no lock."""
    global total
    total += len(path.read_text(encoding="utf-8").split())
    print("counted", path.name, flush=True)


def request_stop(signum, frame):
    task_supervisor.stop(wait=False)


def main(folder):
    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, request_stop)
    count_words.start()
    look.start(folder)
    # until the stop is complete
    task_supervisor.block()
    print("total", total)


if __name__ == "__main__":
    main(sys.argv[1])
