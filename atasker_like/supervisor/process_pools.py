"""ProcessPools: the process pool of a supervisor, or an executor in its position.

Loaded with the first process pool.
"""
from __future__ import annotations

import os

from .. import _checks, _modes
from .._checks import a_kind, plain_or_none, seconds_or_none
from .._inspect import has_method
from ..errors import InvalidArgumentError, InvalidTypeError, SupervisorBusyError
from .interpreter_exit import arm, follow_threads
from .pool_manager import checked_limits, checked_sizes, total_slots, with_min_size
from .run_state import NEW, RUNNING, STOPPED, STOPPING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping, Sequence

    from ..pools.executor.pool import ExternalPool
    from ..pools.process.pool import ProcessPool
    from ..pools.views import ProcessPoolView
    from .ownership import BackReference
    from .pool_manager import PoolManager
    from .run_state import RunState


class ProcessPools:
    """Makes, configures and replaces what runs the process tasks of one supervisor.

    Any thread may call it.
    """

    def __init__(self, state: RunState, back: BackReference, pools: PoolManager) -> None:
        self._state = state
        self._back = back
        self._pools = pools
        self.sizes: dict[str, Any] = {"pool_size": os.cpu_count() or 1, "reserve_normal": 0,
                                      "reserve_high": 0}
        self._own_sizes = self.sizes    # those of the own pool, also while an executor is in use
        self._size_is_set = False       # the application has chosen pool_size
        #: The pool of the supervisor's own, if it runs the tasks, or the one over an executor.
        self.own: ProcessPool | None = None
        self.external: ExternalPool | None = None
        self._view: ProcessPoolView | None = None       # of the own pool

    # -- which pool ----------------------------------------------------------------------------

    def pool(self) -> ProcessPool | ExternalPool:
        """Return what runs process tasks; the own pool is made if there is none."""
        with self._state.lock:
            return self.external or self._own_pool()

    def _own_pool(self) -> ProcessPool:
        with self._state.lock:
            return self.own or self._use_own()

    def view(self, supervisor: Any) -> Any:
        """Return the executor in the position of the pool, the own pool as applications use it,
        or None before there is one."""
        if self.external is not None:
            return self.external.executor
        if self._view is None:
            from ..pools.views import ProcessPoolView

            with self._pools.settings_lock:
                if self._view is None and self.own is not None:
                    self._view = ProcessPoolView(self.own, supervisor)
        return self._view

    def _use_own(self) -> ProcessPool:
        from ..pools.process.pool import ProcessPool

        forks = _modes.legacy and hasattr(os, "fork")
        pool = ProcessPool(f"supervisor_{self._state.supervisor_id}_process", self._pools.timer,
                           self._back.ensure_started, self._pools.threads.spawn,
                           *self._slots(self.sizes), start_method="fork" if forks else None)
        pool.forks_from_template = forks
        self._put(pool)
        self.own, self.external, self._view = pool, None, None
        return pool

    def use(self, executor: Any) -> None:
        """Put an executor in the position of the process pool; None puts the own pool back."""
        if executor is None:
            with self._pools.settings_lock, self._state.lock:
                if self.external is not None:
                    self.sizes = self._own_sizes
                    self._use_own()
            return
        if executor is (self._view if self.external is None else self.external.executor):
            return
        from ..pools.executor.adapters import adapt
        from ..pools.executor.pool import ExternalPool

        with self._pools.settings_lock:
            with self._state.lock:
                adapter = adapt(executor)
                sizes = (self.sizes if self._size_is_set
                         else dict(self.sizes, pool_size=adapter.size()))
                external, own = self.external, self.own
                if external is None:
                    name = f"supervisor_{self._state.supervisor_id}_external"
                    pool = ExternalPool(name, self._pools.timer, self._back.ensure_started,
                                        self._pools.threads.spawn, adapter, *self._slots(sizes))
                    self._put(pool)
                    self.own, self.external, self._view = None, pool, None
                self.sizes = sizes
            if external is not None:
                external.use(adapter)  # first: what the new size lets start is not for the old one
                external.resize(*self._slots(sizes))
        if own is not None:
            own.close(None)

    def _put(self, new: ProcessPool | ExternalPool) -> None:
        """Put a pool in the position of the former one. (state lock held)"""
        old = self._pools.processes
        self._pools.prepare(new)
        if old is not None:
            before = old.backpressure
            new.backpressure.limit(before.max_queued, before.on_full, before.aging)
        # While a stop drains, running tasks may submit more: the pools accept them until then.
        if self._state.phase == RUNNING or self._pools.threads.accepting:
            new.open()
        if old is not None and not old.redirect(new):
            raise SupervisorBusyError(
                f"supervisor {self._state.supervisor_id} has process tasks that have not ended: "
                "wait for them, or stop the supervisor, before you assign something else to "
                "mp_pool")
        self._pools.install_process_pool(new)

    @staticmethod
    def _slots(sizes: dict[str, Any]) -> tuple[int, int, int]:
        return sizes["pool_size"], sizes["reserve_normal"], sizes["reserve_high"]

    # -- configuration -------------------------------------------------------------------------

    def create(self, processes: int | None, executor: Any, initargs: tuple[Any, ...],
               **options: Any) -> None:
        """Make the own pool, with the arguments of :class:`multiprocessing.Pool`.

        :param executor: put it in the position of the pool instead, with ``processes`` calls at a
            time, unless None.
        """
        if executor is None:
            self._create_own(processes, initargs=initargs, **options)
            return
        sizes = checked_sizes("process", pool_size=processes)
        for name, value in options.items():
            if value is not None:
                raise InvalidArgumentError(f"{name} and executor exclude each other: the executor "
                                           "starts its processes itself")
        self.use(executor)
        if processes:
            self.configure(sizes)

    def _create_own(self, processes: int | None, initializer: Callable[..., Any] | None,
                    initargs: tuple[Any, ...], maxtasksperchild: int | None, context: Any,
                    serializer: Any) -> None:
        if self.external is not None:
            self.use(None)
        plain_or_none("initializer", initializer, "call asyncio.run() in a plain function")
        maxtasksperchild = _checks.count_or_none("maxtasksperchild", maxtasksperchild)
        if context is not None and not isinstance(context, str):
            if not has_method(context, "get_start_method"):
                raise InvalidTypeError("context takes a multiprocessing context or the name of a "
                                       f"start method, not {a_kind(context)}")
            context = context.get_start_method()
        with self._pools.settings_lock:
            self._own_pool().configure(initializer, initargs, maxtasksperchild)
            self.configure({"pool_size": processes}, start_method=context, serializer=serializer)

    def configure(self, sizes: Mapping[str, int | None], *limits: Any, **options: Any) -> None:
        """Set sizes, limits, and options of the processes; None keeps a value."""
        follow_threads()        # before a thread starts processes ahead
        with self._pools.settings_lock:
            self._configure(sizes, *limits, **options)
        self.start_ahead()

    def _configure(self, sizes: Mapping[str, int | None], min_size: int | str | None = None,
                   max_queued: int | None = None, on_full: str | None = None, aging: Any = None,
                   prefetch: int | None = None, **options: Any) -> None:
        checked = dict(self.sizes, **checked_sizes("process", **sizes))
        external = self.external
        if prefetch is not None:
            prefetch = _checks.count("prefetch", prefetch, 0)
            if external is None:
                raise InvalidArgumentError("prefetch is for an executor in mp_pool; the own pool "
                                           "sends short tasks ahead by itself, and takes them back")
        if external is not None:
            _refuse_for(external, min_size=min_size, **options)
            if sizes.get("pool_size") == 0:
                checked["pool_size"] = external.adapter.size()
            limits = checked_limits(external, "process", max_queued, on_full, aging)
            external.backpressure.limit(*limits)
            self.sizes = checked
            if prefetch is not None:
                external.prefetched.each = prefetch
            external.resize(*self._slots(checked))
        else:
            if sizes.get("pool_size") == 0:
                checked["pool_size"] = os.cpu_count() or 1
            checked = with_min_size("process", checked, min_size)
            pool = self._own_pool()
            limits = checked_limits(pool, "process", max_queued, on_full, aging)
            _set_options(pool, **options)
            pool.backpressure.limit(*limits)
            self._size_is_set = self._size_is_set or bool(sizes.get("pool_size"))
            if pool.forks_from_template:
                checked["min_size"] = total_slots(checked)
                pool.starter.ensure_template()      # in this thread, before another one needs it
            self.sizes = self._own_sizes = checked
            pool.resize(*self._slots(checked), checked.get("min_size", 0))

    def start_ahead(self) -> None:
        """Start the processes that the application wants before there is a task for them."""
        pool = self.own
        if pool is None or not pool.min_size or self._state.phase in (STOPPING, STOPPED):
            return
        from multiprocessing.process import parent_process

        if parent_process() is not None and self._state.phase == NEW:
            # A pool process that imports the program must not start processes that import it, too.
            return
        arm()
        pool.starter.start_now()


def _set_options(pool: ProcessPool, start_method: str | None = None, initializer: Any = None,
                 initargs: Sequence[Any] | None = None, initializer_timeout: Any = None,
                 maxtasksperchild: int | None = None, max_age: Any = None,
                 max_memory: int | None = None, serializer: Any = None) -> None:
    """Set the options of processes; None keeps a value."""
    plain_or_none("initializer", initializer, "call asyncio.run() in a plain function")
    if serializer is not None:
        from ..pools.process.serializer import Serializer

        pool.use_serializer(Serializer.of(serializer))
    if start_method is not None:
        from ..pools.process.spawn import check_start_method, default_start_method

        check_start_method(start_method)
        changed = start_method != (pool.start_method or default_start_method())
        pool.use_start_method(start_method, changed)
    if initializer_timeout is not None:
        pool.initializer_timeout = seconds_or_none(
            "initializer_timeout of the process pool", initializer_timeout) or None
    if max_age is not None:
        pool.max_age = seconds_or_none("max_age of the process pool", max_age) or None
    if max_memory is not None:
        pool.max_memory = checked_sizes("process", max_memory=max_memory)["max_memory"] or None
    if initializer is None and maxtasksperchild is None:
        return
    quota = pool.maxtasksperchild
    if maxtasksperchild is not None:
        quota = checked_sizes("process", maxtasksperchild=maxtasksperchild)["maxtasksperchild"]
    arguments = pool.initargs if initializer is None else _checks.initargs(initargs or ())
    pool.configure(initializer or pool.initializer, arguments, quota or None)


def _refuse_for(pool: ExternalPool, initargs: Any = None, **options: Any) -> None:
    """Refuse options that only processes of the supervisor's own have."""
    for name, value in options.items():
        if value is not None:
            raise InvalidArgumentError(f"{name} cannot be set: {pool.adapter.name} is in the "
                                       "position of the process pool, and starts its processes "
                                       "itself; set it there")
