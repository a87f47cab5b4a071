"""What the programs print with, and wait with. It knows nothing of the library that a program runs
on."""
import os
import sys
import time


def fact(name, value):
    """Print a line: the name of a fact, and the fact."""
    print('%s: %s' % (name, value), flush=True)


def until(condition, seconds=15):
    """Wait until something holds; return whether it does."""
    end = time.perf_counter() + seconds
    while not condition():
        if time.perf_counter() > end:
            return False
        time.sleep(0.01)
    return True


def leave(supervisor=None):
    """End the program, whatever still runs; stop the supervisor first, if one is given."""
    if supervisor is not None:
        supervisor.stop(wait=5)
        fact('active after stop', supervisor.get_info(tt=False).active)
    sys.stdout.flush()
    os._exit(0)
