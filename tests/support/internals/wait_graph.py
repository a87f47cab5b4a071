"""The graph of waits: the threads and coroutines that wait, and the tasks they wait for."""
from atasker_like.engine import requests, wait_graph


def waits_of_threads():
    """Return the waits of threads, by the waiting task or run."""
    return wait_graph._threads


def waits_of_loops():
    """Return the waits that block loops, by loop."""
    return wait_graph._loops


def waits_of_coroutines():
    """Return the waits of coroutines, by the waiting task or run."""
    return wait_graph._coroutines


def waits_of_callers():
    """Return the waits of callbacks and hooks, by thread."""
    return wait_graph._callers


def runs_under_way():
    """Return the runs of coroutines that are under way."""
    return wait_graph._runs


def is_empty():
    """Return True if nothing waits and no request is under way."""
    return not any((wait_graph._threads, wait_graph._loops, wait_graph._coroutines,
                    wait_graph._callers, wait_graph._runs, requests._requests))


def graph_lock():
    """Return the lock of the graph."""
    return wait_graph._lock


def forget_warnings():
    """Have the next circle warned of, though there was the same one before."""
    wait_graph._warned.clear()
