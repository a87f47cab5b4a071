"""Waits for the answers to requests to services of the same process, for the graph of waits."""
from __future__ import annotations

from . import wait_graph as graph

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


#: By id, the task that waits for the answer to a request, or None, and its wait in the graph.
_requests: dict[str, tuple[Any, graph.Wait | None]] = {}


def request_begins(request_id: str) -> None:
    """Enter the wait of a coroutine for the answer to a request. Its task is not known yet."""
    run = graph._run_of_coroutine() if graph._runs else None
    _requests[request_id] = (graph._task_of_coroutine() if run is None else run[0]), None


def request_accepted(request_id: str, task: Any) -> None:
    """Note the task of a request for which code of this process may wait; warn if it is stuck."""
    found = _requests.get(request_id)
    if found is None:
        return
    waiter = found[0]
    if waiter is not None:
        wait = graph.Wait(waiter, (task,), False)
        with graph._lock:
            if request_id not in _requests:     # the wait has ended meanwhile
                return
            graph._coroutines.setdefault(waiter, []).append(wait)
            _requests[request_id] = waiter, wait
        graph.warn_if_stuck((task,))
    task._warn_if_held_up()


def request_ends(request_id: str) -> None:
    """Remove the wait for an answer."""
    with graph._lock:
        _, wait = _requests.pop(request_id, (None, None))
    if wait is not None:
        graph.await_ends(wait)
