"""Workers whose run goes to the process pool.

atasker stops for good at a result that comes before it has noted the task: hence the pauses.
"""
import os
import time

from atasker import BackgroundIntervalWorker, BackgroundQueueWorker


class Square(BackgroundQueueWorker):

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.results = []

    @staticmethod
    def run(task, *args, **kwargs):
        time.sleep(0.2)
        return task * task, os.getpid(), kwargs.get('o'), '_worker' in kwargs

    def process_result(self, result):
        self.results.append(result)
        return len(self.results) < 4


class Count(BackgroundIntervalWorker):

    total = 0

    @staticmethod
    def run(**kwargs):
        time.sleep(0.2)
        return 1

    def process_result(self, result):
        self.total += result
