"""Workers: objects that run a function again and again."""
from .base import BackgroundWorker
from .kinds import (BackgroundAsyncWorker, BackgroundEventWorker, BackgroundIntervalWorker,
                    BackgroundQueueWorker, background_worker)

__all__ = ["BackgroundAsyncWorker", "BackgroundEventWorker", "BackgroundIntervalWorker",
           "BackgroundQueueWorker", "BackgroundWorker", "background_worker"]
