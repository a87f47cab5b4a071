"""SpecFactory: checks a function once for all its calls; submits calls; finds lanes by name."""
from __future__ import annotations

from contextvars import copy_context
from functools import partial

from .. import _modes
from .._checks import (instance, keywords_of, not_a_function, plain_or_none, positional,
                       runs_when_called)
from .._ids import new_id
from .._inspect import copy_metadata, is_coroutine_function, name_of, shown, wants_task_id
from ..constants import TT_COROUTINE, TT_MP, TT_THREAD, TaskType
from ..engine.lanes import Lane
from ..engine.spec import TaskSpec, undecorated
from ..engine.task import Task
from ..errors import InvalidArgumentError, InvalidTypeError
from ..options import TaskOptions, check_lane

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Any, Callable, Mapping, Sequence, Unpack

    from .._checks import Seconds
    from ..options import LaneSettings
    from .overrides import Overrides, Start, StartMany
    from .ownership import BackReference
    from .pool_manager import PoolManager
    from .run_state import RunState


#: Specs for bare calls of functions that are kept at most.
MOST_KEPT = 512


class SpecFactory:
    """Makes the specs of one supervisor. Any thread may call it.

    :param overrides: the methods that a subclass of the supervisor overrides, or None.
    """

    def __init__(self, state: RunState, back: BackReference, pools: PoolManager,
                 overrides: Overrides | None) -> None:
        self._state = state
        self._back = back
        self._pools = pools
        self.overrides: Overrides | None = overrides
        self._kept: dict[Any, TaskSpec] = {}
        # Both are guarded by the lock of the state.
        self._lanes: dict[str, Lane] = {}
        self._placeholders: dict[str, Lane] = {}    # for names without a lane when they were given
        pools.on_replaced = self._kept.clear

    def make(self, target: Any, tt: TaskType | None, options: TaskOptions,
             callback: Callable[[Any], Any] | None = None, loop: Any = None, worker: Any = None,
             lane: Lane | str | None = None, rank: int | None = None, hooks: Any = None,
             named_id: bool = False) -> TaskSpec:
        """Check a function and what its calls have in common; see ``TaskSupervisor.make_spec``."""
        target = undecorated(target)
        if not callable(target):
            raise not_a_function("a task", target)
        runs_when_called(target)
        plain_or_none("callback", callback, "have a plain function submit a task")
        if _modes.legacy:
            target, tt = _as_in_atasker(target, tt)
        tt = _checked_kind(target, tt, options)
        pool = self._pools.pool_for(tt)
        if lane is not None:
            lane = self._checked_lane(lane)
            if lane.find is None:
                lane.bind(pool)
        spec = TaskSpec(pool, target, options, tt, callback, loop, worker,
                        tt == TT_MP and wants_task_id(target, named_id, _modes.legacy),
                        lane, rank, hooks)
        self.watch(spec)
        return spec

    def kept(self, target: Any, tt: TaskType, priority: int | None) -> TaskSpec:
        """Return the spec for bare calls of a function, the same one each time.

        So the duration that its tasks are found to have is not lost.
        """
        key = (target, tt, priority)
        try:
            spec = self._kept.get(key)
        except TypeError:               # the function is not hashable
            return self.make(target, tt, TaskOptions(priority=priority))
        if spec is None:
            spec = self.make(target, tt, TaskOptions(priority=priority))
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()      # operations of a dict are atomic; a lost entry costs time
            self._kept[key] = spec
        return spec

    # -- submitting ----------------------------------------------------------------------------

    def watch(self, spec: TaskSpec) -> None:
        """Have overridden marks called for tasks of a spec. None has been made of it yet."""
        if self.overrides is not None:
            self.overrides.watch(spec)

    def starter(self, spec: TaskSpec) -> Start:
        """Return the function that submits a call: of the spec, the arguments, the keywords."""
        return spec.pool.start if self.overrides is None else self.overrides.starter(spec)

    def many_starter(self, spec: TaskSpec) -> StartMany:
        """Return the function that submits many calls together: of the spec and their arguments."""
        return spec.pool.start_many if self.overrides is None else self.overrides.put_many

    def put(self, target: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any] | None,
            callback: Callable[[Any], Any] | None, priority: int, delay: Seconds | None,
            tt: TaskType, task_id: str | None, worker: Any, send_task_id: bool) -> Task[Any]:
        """Submit a call and return its task; see ``TaskSupervisor.put_task``."""
        keywords = keywords_of("put_task", target, kwargs)
        overrides = self.overrides
        spec = None if overrides is None or task_id is None else overrides.take(task_id)
        wants_id = False
        if spec is None:
            spec = self.make(target, tt, TaskOptions(priority=priority, delay=delay or None),
                             callback, worker=worker)
            spec.ends_early = True
            wants_id = (send_task_id and spec.tt == TT_THREAD
                        and wants_task_id(spec.function, of_any_kind=_modes.legacy))
        elif (target is not spec.function or callback is not spec.callback
              or (priority, delay, tt) != (spec.priority, spec.options.delay, spec.tt)):
            # The subclass has changed an argument; the other options of the function stay.
            options = spec.options.replace(priority=priority, delay=delay or None)
            spec = self.make(target, tt, options, callback, worker=worker, lane=spec.lane,
                             named_id=not spec.takes_id)
        task: Task[Any] = Task(spec, positional("put_task", target, args), keywords,
                               None if spec.tt == TT_MP else copy_context())
        if task_id is None and wants_id:
            task_id = new_id()
        if task_id is not None:
            if not isinstance(task_id, str) or not task_id:
                raise InvalidTypeError("task_id takes a string that is not empty, not "
                                       f"{shown(task_id)}")
            task_id = "".join((task_id, ""))        # a plain str, if it is of a subclass
            if self._pools.find(task_id) is not None:
                raise InvalidArgumentError(f"task id {task_id!r} belongs to a live task; choose "
                                           "another one")
            task._extra_fields().task_id = task_id
            if wants_id:
                task._kwargs = dict(keywords or {}, _task_id=task_id)
        return task if spec.pool.submit(task) is None else task  # type: ignore[func-returns-value]

    # -- lanes ---------------------------------------------------------------------------------

    def lane(self, name: str, **settings: Unpack[LaneSettings]) -> Lane:
        """Return the lane of a name, with these settings; see ``TaskSupervisor.lane``."""
        check_lane(name, **settings)
        with self._state.lock:
            lane = self._lanes.get(name)
            if lane is None:
                lane = self._lanes[name] = Lane(name, **settings)
                return lane
        if settings:
            lane.configure(**settings)
        return lane

    def lanes(self) -> dict[str, Lane]:
        """Return the lanes that :meth:`lane` has made, by name."""
        with self._state.lock:
            return dict(self._lanes)

    def knows(self, lane: Lane) -> bool:
        """Return True if the name of a lane leads to the lane."""
        return lane in (self._lanes.get(lane.name), self._placeholders.get(lane.name))

    def _checked_lane(self, lane: Any) -> Lane:
        if not isinstance(lane, str):
            checked = instance("lane", lane, Lane, "a Lane or the name of one")
            if self._placeholders.get(checked.name) is not checked:
                return checked
            lane = lane.name        # that of another function, such as a method or a copy
        with self._state.lock:
            found = self._lanes.get(lane) or self._placeholders.get(lane)
            if found is None:       # lane() may make it later
                found = Lane.named(lane, partial(self._back.find_lane, lane))
                self._placeholders[lane] = found
            return found

    def find_lane(self, name: str) -> Lane:
        """Return the lane of a name.

        :raises InvalidArgumentError: it was not made; the error lists the lanes.
        """
        lane = self._lanes.get(name)        # without the lock: a signal handler may call this
        if lane is not None:
            return lane
        from difflib import get_close_matches

        known = sorted(self.lanes())
        near = get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise InvalidArgumentError(
            f"no lane of supervisor {self._state.supervisor_id} is named {name!r}{hint} Its lanes "
            f"are: {', '.join(map(repr, known)) or 'none'}. Make the lane before the first task is "
            f"submitted: lane({name!r}, limit=...) of the supervisor")


def _as_in_atasker(target: Any, tt: Any) -> tuple[Any, Any]:
    """Return a function and a kind of task that it can be.

    In atasker a coroutine function runs in a loop whatever the kind, and TT_COROUTINE takes any
    function that returns a coroutine.
    """
    if is_coroutine_function(target):
        return target, TT_COROUTINE
    if tt != TT_COROUTINE:
        return target, tt

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        return await target(*args, **kwargs)

    copy_metadata(awaited, target)
    return awaited, tt


def _checked_kind(target: Any, tt: Any, options: TaskOptions) -> TaskType:
    """Return the kind of task that a function can be; None chooses it."""
    coroutine = is_coroutine_function(target)
    if tt is None:
        return TT_COROUTINE if coroutine else TT_THREAD
    try:
        kind = TaskType(tt)
    except ValueError:
        raise InvalidArgumentError("tt takes TT_THREAD, TT_MP or TT_COROUTINE, not "
                                   f"{shown(tt)}") from None
    if coroutine == (kind == TT_COROUTINE):
        return kind
    name = options.name or name_of(target)
    if coroutine:
        raise InvalidTypeError(f"{name} is a coroutine function: it runs in a loop, not in a "
                               f"{'process' if kind == TT_MP else 'thread'}; leave tt out, or call "
                               "it from a plain function with asyncio.run()")
    raise InvalidTypeError(f"{name} is not a coroutine function and cannot run in a loop; define "
                           "it with 'async def', or leave tt out")
