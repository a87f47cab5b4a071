"""What the programs have run in processes."""
import multiprocessing
import os
import threading
import time

CONFIG = {'factor': 1}


def scaled(x, **kwargs):
    return x * CONFIG['factor']


def forwarded(*args, **kwargs):
    return args, kwargs


def add(a, b=0, **kwargs):
    return a + b


def power(base, exponent=2):
    return base ** exponent


def named(x, _task_id=None):
    return x, isinstance(_task_id, str)


def pid(**kwargs):
    return os.getpid()


def parent():
    return multiprocessing.parent_process().pid


def thread_name():
    return threading.current_thread().name


def slow(seconds, **kwargs):
    time.sleep(seconds)
    return seconds


def options_of(**kwargs):
    return sorted(kwargs)


def later(*args, **kwargs):
    time.sleep(0.3)
    return 'later'


def later_arguments(*args, **kwargs):
    time.sleep(0.3)
    return args, sorted(kwargs.items())


def die():
    os.kill(os.getpid(), 9)
