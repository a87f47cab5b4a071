"""Workers: objects that run a function again and again."""
from .base import BackgroundWorker
from .decorator import background_worker
from .kinds import (BackgroundAsyncWorker, BackgroundEventWorker, BackgroundIntervalWorker,
                    BackgroundQueueWorker)

__all__ = ["BackgroundAsyncWorker", "BackgroundEventWorker", "BackgroundIntervalWorker",
           "BackgroundQueueWorker", "BackgroundWorker", "background_worker"]
