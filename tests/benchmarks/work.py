"""What the tasks do. The module is importable and light, because every pool process imports it."""

import os
import threading
import time
from typing import Any


def noop() -> None:
    """Nothing at all."""


def echo(value: Any) -> Any:
    return value


def ends(array: Any) -> Any:
    """The elements at both ends of an array."""
    return float(array[0]), float(array[-1])


def now() -> float:
    """When the task ran, on a clock that all processes of the machine share."""
    return time.perf_counter()


def sleep_for(seconds: float) -> None:
    time.sleep(seconds)


def busy_for(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def pid_after(seconds: float) -> int:
    """Which process ran this. The sleep keeps one process from taking all of them."""
    time.sleep(seconds)
    return os.getpid()


def hold(started: threading.Semaphore, gate: threading.Event) -> None:
    """Occupies a place until the gate opens."""
    started.release()
    gate.wait()


def announce(path: str) -> None:
    """Writes the process's id into a named pipe, then waits to be killed."""
    with open(path, 'w') as pipe:
        pipe.write(str(os.getpid()))
    time.sleep(60)
