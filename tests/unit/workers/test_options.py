"""Options that workers do not know."""
import logging

import pytest

from atasker_like import (BackgroundAsyncWorker, BackgroundEventWorker, BackgroundIntervalWorker,
                          BackgroundQueueWorker, BackgroundWorker, InvalidTypeError,
                          background_worker)

CLASSES = [BackgroundWorker, BackgroundAsyncWorker, BackgroundEventWorker, BackgroundIntervalWorker,
           BackgroundQueueWorker]


@pytest.mark.parametrize("kind", CLASSES)
def test_options_passed_on_by_a_subclass_are_ignored_with_a_debug_line(kind, caplog):
    class Poller(kind):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.url = kwargs.get("url")

        def run(self):
            pass

    with caplog.at_level(logging.DEBUG, "atasker_like"):
        worker = Poller("named", url="there", priority=7)
    assert (worker.url, worker.priority, worker.name) == ("there", 7, "_background_worker_named")
    assert [record.getMessage() for record in caplog.records
            if record.levelno == logging.DEBUG] == [
        "Poller: option 'url' is not known, and ignored"]


@pytest.mark.parametrize("kind", CLASSES)
def test_collection_classes_refuse_unknown_options(kind):
    with pytest.raises(InvalidTypeError, match=f"{kind.__name__} has no option 'url'"):
        kind(url="there")


def test_worker_decorator_refuses_unknown_options():
    with pytest.raises(InvalidTypeError, match="background_worker has no option 'url'"):
        background_worker(print, url="there")
