"""Workers that cannot be started or made."""
import asyncio
import threading

import pytest

from atasker_like import InvalidArgumentError, InvalidTypeError, background_worker
from tests.support import PATIENCE
from tests.support.threads import join, started


@pytest.mark.parametrize("options, error, message", [
    ({"on_error_kwargs": 5}, InvalidTypeError, "on_error_kwargs takes a mapping, not int"),
    ({"on_error_kwargs": "ab"}, InvalidTypeError, "on_error_kwargs takes a mapping, not str"),
    ({"restart": False}, InvalidArgumentError,
     "restart takes one of always, on_failure, never, not False"),
    ({"restart": ""}, InvalidArgumentError, "restart takes one of"),
    ({"interval": 1, "overlap": False}, InvalidArgumentError,
     "overlap takes one of shift, skip, coalesce, queue, not False"),
])
def test_false_values_are_refused_like_true_ones(options, error, message):
    with pytest.raises(error, match=message):
        background_worker(lambda: None, **options)


def test_asyncio_queue_is_made_for_a_loop_that_does_not_run_yet(supervisor):
    loop = asyncio.new_event_loop()
    got = []

    async def take(item):
        got.append(item)
        loop.stop()

    worker = background_worker(take, q=asyncio.Queue, loop=loop, supervisor=supervisor)
    try:
        assert join(started(worker.start)) is True
        worker.put_threadsafe("item")
        watchdog = threading.Timer(PATIENCE, loop.call_soon_threadsafe, (loop.stop,))
        watchdog.start()
        loop.run_forever()
        watchdog.cancel()
        watchdog.join()
        assert got == ["item"]
        worker.stop(wait=False)
        loop.run_until_complete(asyncio.sleep(0))
        assert worker.wait_until_stop(PATIENCE)
    finally:
        loop.close()
