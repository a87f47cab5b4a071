"""Handler: how a service runs the tasks of one class."""
from __future__ import annotations

from contextvars import copy_context

from ..constants import TT_COROUTINE, TT_THREAD
from ..engine.blocking import without_blocking
from ..engine.task import Task
from ..errors import QueueFullError, SupervisorStoppedError
from ..options import TaskOptions
from .task import Task as TypedTask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Any, Callable

    from ..constants import TaskType
    from ..engine.spec import TaskSpec
    from .connection import PendingRequest, RequestService


#: Options of a handler, beside ``tt``. The service itself decides about delays and lanes.
OPTIONS = ("priority", "timeout", "retries", "retry_delay", "backoff", "max_retry_delay", "jitter",
           "retry_on", "ignore_on", "name", "metadata", "ignore_result")

#: Priorities in the lane for which a handler keeps a spec.
_MAX_LANE_SPECS = 256


class Handler:
    """The function that handles the tasks of one class, and its options."""

    def __init__(self, service: RequestService, task_class: type[TypedTask],
                 function: Callable[[Any], Any], tt: TaskType | None, options: TaskOptions) -> None:
        self.service = service
        self.task_class = task_class
        if options.name is None and callable(function):
            options = options.replace(name=f"{service.name}.{task_class.type()}")
        self.spec: TaskSpec = service.supervisor.make_spec(function, tt, options)
        # By priority in the lane. Without a lock: the dict's operations are atomic, and an entry
        # that is lost in a race is made again.
        self._lane_specs: dict[int, TaskSpec] = {}

    def start(self, task: TypedTask, priority: int, request: PendingRequest) -> None:
        """Accept a task, and call ``request`` at its end.

        In a loop, without blocking it.

        Errors as :meth:`Pool.submit`.
        """
        spec = self.spec if self.task_class.parallel else self._lane_spec(priority)
        lane = spec.lane
        has_room = lane is None or lane.size is lane.rate is None
        if has_room and spec.tt == TT_COROUTINE and spec.fast_finish:
            # The short path: no other code runs in between here.
            made = request.task = Task(spec, (task,), None, copy_context())
            made._waiters = [request]
            if spec.pool.start_inline(made, request.mailbox):        # type: ignore[attr-defined]
                return
        mailbox = request.mailbox
        mailbox.hold()      # drain() below runs posts to this loop: they need not wake it up
        try:
            request.task = without_blocking(spec.pool.start, spec, (task,), None)
            if not request.task._add_waiter(request):
                request.post()
        finally:
            try:
                mailbox.drain()
            except BaseException as error:
                # An error of another post, not of this task, which may be running already.
                mailbox.loop.call_exception_handler({   # type: ignore[union-attr]  # it runs this
                    "message": f"a call in the loop of service {self.service.name} raised",
                    "exception": error})

    def _lane_spec(self, priority: int) -> TaskSpec:
        """Return the spec of tasks in the lane, with a priority there."""
        spec = self._lane_specs.get(priority)
        if spec is None:
            inner, kind = self.spec, self.service._lane_tt()
            if inner.tt == kind:
                target, options = inner.target, inner.options
            else:
                target = self._run_in_own_pool
                if kind == TT_THREAD:
                    target = self._run_in_own_pool_blocking
                options = TaskOptions(name=inner.name, ignore_result=inner.options.ignore_result)
            spec = self.service.supervisor.make_spec(target, kind, options, lane=self.service.lane,
                                                     rank=priority)
            if len(self._lane_specs) >= _MAX_LANE_SPECS:
                self._lane_specs.clear()
            self._lane_specs[priority] = spec
        return spec

    async def _run_in_own_pool(self, task: TypedTask) -> Any:
        """Run the handler in its own pool, and wait for it.

        This coroutine occupies the lane.
        """
        spec = self.spec
        try:
            inner = await self._start_in_own_pool(task)
        except SupervisorStoppedError:
            # The supervisor finishes its accepted tasks, and this is one, but its pools are closed.
            if spec.tt != TT_THREAD:
                raise
            from asyncio import wrap_future

            return await wrap_future(self.service.supervisor.spawn_thread(spec.target, (task,)))
        try:
            return await inner
        finally:
            if not inner.done():        # this coroutine was cancelled
                inner.cancel()

    async def _start_in_own_pool(self, task: TypedTask) -> Task[Any]:
        """Start a task in the handler's pool.

        If that is full, another thread waits for room.
        """
        spec = self.spec
        try:
            return without_blocking(spec.pool.start, spec, (task,), None)
        except QueueFullError:
            if spec.pool.backpressure.on_full != "block":        # type: ignore[attr-defined]
                raise
        from asyncio import CancelledError, wrap_future
        from concurrent.futures import Future

        starting: Future[Task[Any]] = Future()
        starting.set_running_or_notify_cancel()     # cancelling this coroutine does not cancel it
        context = copy_context()

        def start() -> None:
            try:
                starting.set_result(context.run(spec.pool.start, spec, (task,), None))
            except BaseException as error:
                starting.set_exception(error)

        self.service.supervisor._supervisor_parts.pools.threads.spawn(start)
        try:
            return await wrap_future(starting)
        except CancelledError:
            starting.add_done_callback(_cancel_started)
            raise

    def _run_in_own_pool_blocking(self, task: TypedTask) -> Any:
        """Run the handler in its own pool, and wait for it.

        This thread occupies the lane.
        """
        spec = self.spec
        try:
            return spec.pool.start(spec, (task,), None).value()
        except SupervisorStoppedError:
            if spec.tt != TT_COROUTINE:
                raise
        return self.service.supervisor.own_loop().run(spec.target(task))


def _cancel_started(starting: Future[Task[Any]]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        starting.result().cancel()
