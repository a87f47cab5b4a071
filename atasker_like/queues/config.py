"""QueueConfig: the arguments of a queue, checked where they are passed."""
from __future__ import annotations

from .. import _checks
from .._checks import a_kind, count, ends_traceback, integer, one_of, plain_or_none, seconds_or_none
from ..constants import TASK_NORMAL
from ..options import unknown_option
from ..tasks import supervisor_or_default

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, NoReturn, Sequence

    from .._checks import Seconds
    from ..engine.result import TaskResult
    from ..supervisor.supervisor import TaskSupervisor
    from .signatures import FailPolicy, Mode, OnTimeout


FAIL_POLICIES = ("continue", "fail_first")

ARGUMENTS = ("workers", "size", "timeout", "mode", "fail_policy", "on_timeout", "rate", "burst",
             "initializer",
             "initargs", "on_start", "on_complete", "on_retry", "supervisor", "pool_priority")


class QueueConfig:
    """The arguments of a queue."""

    @ends_traceback
    def __init__(self, workers: int | None = None, size: int = 0, timeout: Seconds | None = None,
                 mode: Mode = "finite", fail_policy: FailPolicy = "continue",
                 on_timeout: OnTimeout = "complete",
                 rate: float | None = None, burst: int = 1,
                 initializer: Callable[..., Any] | None = None, initargs: Sequence[Any] = (),
                 on_start: Callable[[Any], Any] | None = None,
                 on_complete: Callable[[TaskResult], Any] | None = None,
                 on_retry: Callable[[Any, BaseException], Any] | None = None,
                 supervisor: TaskSupervisor | None = None, pool_priority: int = TASK_NORMAL,
                 **unknown: NoReturn) -> None:
        for name in unknown:
            raise unknown_option(name, ARGUMENTS, type(self).__name__)
        self.workers: int | None = None if workers is None else count("workers", workers)
        self.size: int = count("size", size, 0)
        self.timeout: float | None = seconds_or_none("timeout", timeout, above=True)
        self.mode: str = one_of("mode", mode, ("finite", "infinite"))
        self.fail_policy: str = one_of("fail_policy", fail_policy, FAIL_POLICIES)
        self.on_timeout: str = one_of("on_timeout", on_timeout, ("complete", "cancel"))
        self.rate: float | None = None if rate is None else _checks.rate("rate", rate)
        self.burst: int = count("burst", burst)
        _checks.number("burst", burst, 1)          # no float could hold a larger one
        self.initializer: Callable[..., Any] | None = self._checked_initializer(initializer)
        self.initargs: tuple[Any, ...] = _checks.initargs(initargs)
        self.supervisor: TaskSupervisor = supervisor_or_default(supervisor)
        self.pool_priority: int | None = (
            None if pool_priority is None else integer("pool_priority", pool_priority))
        self.on_start: Callable[[Any], Any] | None = _hook("on_start", on_start)
        self.on_complete: Callable[[TaskResult], Any] | None = _hook("on_complete", on_complete)
        self.on_retry: Callable[[Any, BaseException], Any] | None = _hook("on_retry", on_retry)
        self._setup()

    def _label(self) -> str:
        """Return the name of its class with an article, for messages."""
        return a_kind(self)

    def _checked_initializer(self, initializer: Any) -> Any:
        return plain_or_none("initializer", initializer,
                             "call asyncio.run() in a plain function, or use an AsyncQueue, which "
                             "awaits its initializer")

    def _setup(self) -> None:
        """Make the rest of the queue from its arguments."""
        raise NotImplementedError


def _hook(name: str, hook: Any) -> Any:
    return plain_or_none(name, hook, "have a plain function submit a task to another queue")
