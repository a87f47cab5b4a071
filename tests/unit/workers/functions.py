"""What the workers of the tests run in pool processes: importable by name."""
from atasker_like import (BackgroundEventWorker, BackgroundIntervalWorker, BackgroundQueueWorker,
                          BackgroundWorker)


def _record(path, word):
    with open(path, "a") as file:
        file.write(f"{word}\n")


class Keeping:
    """Keeps what process_result was given, and stops at the number in ``o``."""

    def process_result(self, result):
        self.results = getattr(self, "results", []) + [result]
        return len(self.results) < self.most


class InProcess(Keeping, BackgroundWorker):
    most = 3

    @staticmethod
    def run(number, **kwargs):
        import os

        return os.getpid(), number, sorted(kwargs), kwargs.get("_name"), kwargs.get("o")


class QueueInProcess(Keeping, BackgroundQueueWorker):
    most = 4

    @staticmethod
    def run(item, o):
        if item < 0:
            raise ValueError(item)
        return item * o


class EventInProcess(Keeping, BackgroundEventWorker):
    most = 2

    @staticmethod
    def run(_task_id):
        return _task_id


class IntervalInProcess(Keeping, BackgroundIntervalWorker):
    most = 2

    @staticmethod
    def run():
        return "ran"


class FalseInProcess(BackgroundWorker):
    @staticmethod
    def run():
        return False


class HeldInProcess(BackgroundEventWorker):
    @staticmethod
    def run(path):
        import signal

        _record(path, "in")
        signal.pause()
