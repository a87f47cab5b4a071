"""How the tasks of one class are handled."""
from __future__ import annotations

from contextvars import copy_context

from ..constants import TT_COROUTINE, TT_THREAD
from ..engine.blocking import at_once
from ..engine.task import Task
from ..errors import QueueFullError, SupervisorStoppedError
from ..options import TaskOptions
from .task import Task as TypedTask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Any, Callable, TypeVar

    from ..constants import TaskType
    from ..engine.spec import TaskSpec
    from .connection import PendingRequest
    from .service import Service

    F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["Handler"]


#: Options of a handler, beside ``tt``: what makes sense for a task that starts when its turn comes.
OPTIONS = ("priority", "timeout", "retries", "retry_delay", "backoff", "max_retry_delay", "jitter", "retry_on", "ignore_on",
            "name", "metadata", "ignore_result")


#: Ranks of which a handler keeps the specs.
_MAX_LANE_SPECS = 256


class Handler:
    """How tasks of one class are handled."""

    def __init__(self, service: Service, task_class: type[TypedTask], function: Callable[[Any], Any],
                 tt: TaskType | None, options: TaskOptions) -> None:
        self.service = service
        self.task_class = task_class
        if options.name is None and callable(function):
            options = options.replace(name=f"{service.name}.{task_class.type()}")
        self.spec: TaskSpec = service.supervisor.make_spec(function, tt, options)
        self._lane_specs: dict[int, TaskSpec] = {}       # a dict's operations are atomic; an entry lost costs a little time

    def start(self, task: TypedTask, rank: int, request: PendingRequest) -> None:
        """Accept a task, of whose end the call is told. In a loop, which does not wait. Errors as :meth:`Pool.submit`."""
        spec = self.spec if self.task_class.parallel else self._lane_spec(rank)
        lane = spec.lane
        if spec.tt == TT_COROUTINE and spec.brief and (lane is None or lane.size is lane.rate is None):
            # There is room for it, and nothing comes in between here: the short way.
            made = request.task = Task(spec, (task,), None, copy_context())
            made._watchers = [request]
            if spec.pool.start_inline(made, request.mailbox):        # type: ignore[attr-defined]
                return
        mailbox = request.mailbox
        mailbox.hold()      # what is posted to this very loop need not wake it up, nor wait for its next turn
        try:
            request.task = at_once(spec.pool.start, spec, (task,), None)
            if not request.task._watch(request):
                request.post()
        finally:
            try:
                mailbox.drain()
            except BaseException as error:      # of another one's call: it says nothing of this task, which may run already
                mailbox.loop.call_exception_handler(        # type: ignore[union-attr]  # it runs this
                    {"message": f"a call in the loop of service {self.service.name} raised", "exception": error})

    def _lane_spec(self, rank: int) -> TaskSpec:
        """Return the spec of tasks that run one at a time; they are made once for each rank."""
        spec = self._lane_specs.get(rank)
        if spec is None:
            inner, kind = self.spec, self.service._lane_tt()
            if inner.tt == kind:
                target, options = inner.target, inner.options
            else:
                target = self._run_in_own_pool_blocking if kind == TT_THREAD else self._run_in_own_pool
                options = TaskOptions(name=inner.name, ignore_result=inner.options.ignore_result)
            spec = self.service.supervisor.make_spec(target, kind, options, lane=self.service.lane, rank=rank)
            if len(self._lane_specs) >= _MAX_LANE_SPECS:
                self._lane_specs.clear()
            self._lane_specs[rank] = spec
        return spec

    async def _run_in_own_pool(self, task: TypedTask) -> Any:
        """Run the handler in the pool where it belongs, and wait for it, in its place in the lane."""
        spec = self.spec
        try:
            inner = await self._start_in_own_pool(task)
        except SupervisorStoppedError:
            # The supervisor is finishing what it has accepted, which this task is, and its pools take nothing new.
            if spec.tt != TT_THREAD:
                raise
            from asyncio import wrap_future

            return await wrap_future(self.service.supervisor.spawn_thread(spec.target, (task,)))
        try:
            return await inner
        finally:
            if not inner.done():        # who waited was cancelled
                inner.cancel()

    async def _start_in_own_pool(self, task: TypedTask) -> Task[Any]:
        """Start a task in the pool of the handler; where others would wait for room, another thread does."""
        spec = self.spec
        try:
            return at_once(spec.pool.start, spec, (task,), None)
        except QueueFullError:
            if spec.pool.on_full != "block":        # type: ignore[attr-defined]
                raise
        from asyncio import CancelledError, wrap_future
        from concurrent.futures import Future

        starting: Future[Task[Any]] = Future()
        starting.set_running_or_notify_cancel()         # it comes to its end, even when nobody waits for it any more
        context = copy_context()

        def start() -> None:
            try:
                starting.set_result(context.run(spec.pool.start, spec, (task,), None))
            except BaseException as error:
                starting.set_exception(error)

        self.service.supervisor._supervisor_parts.pools.threads.beside(start)
        try:
            return await wrap_future(starting)
        except CancelledError:
            starting.add_done_callback(_cancel_started)
            raise

    def _run_in_own_pool_blocking(self, task: TypedTask) -> Any:
        """The same for a lane of threads."""
        spec = self.spec
        try:
            return spec.pool.start(spec, (task,), None).value()
        except SupervisorStoppedError:
            if spec.tt != TT_COROUTINE:
                raise
        return self.service.supervisor.own_loop().run(spec.target(task))


def _cancel_started(starting: Future[Task[Any]]) -> None:
    """Nobody wants the task any more that a thread has started after all."""
    if not starting.cancelled() and starting.exception() is None:
        starting.result().cancel()
