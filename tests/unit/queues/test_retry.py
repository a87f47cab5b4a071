"""Retries that the function of a task requests: handles, hooks and policies of queues."""
import threading
from functools import partial
from time import perf_counter

from atasker_like import TaskRetryError
from tests.support import PATIENCE


def test_handle_waits_for_the_countdown(face):
    retried = threading.Event()
    queue = face.make(on_retry=lambda handle, error: retried.set())
    handle = face.do(partial(queue.submit, face.function("retry_until"), 2, 1000, retries=1))
    face.do(queue.start)
    assert retried.wait(PATIENCE)
    assert (handle.status, handle.attempts) == ("retrying", 1)
    assert handle.scheduled_for > perf_counter() + 500
    assert queue.stats["scheduled"] == 1
    queue.cancel()
    assert handle.status == "cancelled"


def test_handle_counts_attempts_and_hook_gets_the_request(face):
    told = []
    queue = face.make(on_retry=lambda handle,
                      error: told.append((handle.task_id, type(error), str(error))))
    handle = face.do(partial(queue.submit, face.function("retry_until"), 3, 0, retries=2,
                             name="again"))
    assert face.run(queue).values == ((3, 0, True),)
    assert handle.attempts == 3
    assert [entry[:2] for entry in told] == [(handle.task_id, TaskRetryError)] * 2
    assert told[0][2].startswith("task again (") and "asked for another attempt" in told[0][2]


def test_hook_gets_the_error_of_a_request(face):
    told = []
    queue = face.make(on_retry=lambda handle, error: told.append(type(error)))
    handle = face.do(partial(queue.submit, face.function("retry_what_is_handled"), 0, retries=1))
    assert face.run(queue).failed == 1
    assert (told, handle.attempts, type(handle.exception())) == ([KeyError], 2, KeyError)


def test_request_is_no_failure_yet(inside):
    queue = inside.make(workers=1, fail_policy="fail_first")
    inside.do(partial(queue.submit, inside.function("retry_until"), 3, 0, retries=2))
    inside.do(queue.submit, inside.function("double"), 1)
    assert inside.run(queue).values == ((3, 0, True), 2)


def test_request_in_the_last_attempt_is_the_first_failure(inside):
    queue = inside.make(workers=1, fail_policy="fail_first")
    lost = inside.do(partial(queue.submit, inside.function("retry_for_ever"), retries=1,
                             priority=0))
    rest = inside.do(queue.submit, inside.function("double"), 1)
    summary = inside.run(queue)
    assert (summary.failed, rest.status) == (1, "cancelled")
    assert type(lost.exception()) is TaskRetryError
