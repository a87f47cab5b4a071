"""The kinds of workers beyond the plain one: async, queue, event and interval workers."""
from __future__ import annotations

import sys
from collections import deque
from operator import attrgetter
from queue import Empty
from types import SimpleNamespace

from .. import _checks, _modes
from .._atomics import RLock
from .._generics import P, T_co
from .._inspect import class_name, has_method, is_coroutine_function
from .._log import log
from ..errors import InvalidArgumentError, InvalidTypeError, SupervisorStoppedError
from ..loops import ALoop
from .base import BackgroundWorker, worker_setting
from .item_queues import (WorkerQueue, check_queue_class, getter_of, has_own, is_asyncio_queue,
                          item_taken, make_queue, size_of)
from .loop_queues import FetchTrigger, ScheduledPuts
from .session import Session
from .triggers import OVERLAPS, EventTrigger, IntervalTrigger, QueueTrigger, Trigger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


class BackgroundAsyncWorker(BackgroundWorker[P, T_co]):
    """Runs a coroutine function again and again in a loop.

    The loop is that of ``loop=`` (default: the supervisor's default loop). Between two runs, other
    coroutines of the loop run. A ``run`` that is a plain function runs in a pool thread.

    :param name: as for :class:`BackgroundWorker`, and so are the options (default: None).
    :param executor_func: as for :class:`BackgroundWorker`, and so are the options (default: None).

    >>> @background_worker
    ... async def count(numbers):
    ...     numbers.append(len(numbers))
    ...     return len(numbers) < 3
    >>> numbers = []
    >>> count.start(numbers), count.wait_until_stop(10), numbers
    (True, True, [0, 1, 2])
    """

    #: The aloop of the last start, and its asyncio loop. In a loop of the application's own,
    #: ``aloop`` is None.
    aloop: ALoop | None = None

    def _worker_set_up(self, options: dict[str, Any]) -> None:
        self.executor_loop: Any = options.get("loop")

    def _worker_make_session(self, args: tuple[Any, ...], kwargs: dict[str, Any],
                             overrides: dict[str, Any]) -> Session:
        session = super()._worker_make_session(args, kwargs, overrides)
        loop = self._worker_loop
        if isinstance(loop, str):
            loop = self.supervisor.get_aloop(loop)
        elif loop is None:
            loop = self.supervisor.default_aloop
        self.aloop = loop if isinstance(loop, ALoop) else None
        self.executor_loop = session.loop or (loop if self.aloop is None else self.aloop._loop)
        return session

    @property
    def worker_loop(self) -> Any:
        """The asyncio loop for coroutines that use the worker's queue or event.

        It is that of ``run`` if ``run`` is a coroutine function, else the supervisor's own. It may
        be assigned, without effect on the worker.
        """
        session = self._worker_session
        return self.__dict__.get("worker_loop") or (None if session is None else session.loop) \
            or self.supervisor.event_loop

    @worker_loop.setter
    def worker_loop(self, loop: Any) -> None:
        self.__dict__["worker_loop"] = loop


class BackgroundQueueWorker(BackgroundAsyncWorker[P, T_co]):
    """Runs its function for each item that is put into its queue, in their order.

    Without items the worker occupies no thread and no slot. Items that are put before the start, or
    that a stop leaves, wait for the next start.

    :param name: as for :class:`BackgroundWorker`, and so are the options (default: None).
    :param executor_func: as for :class:`BackgroundWorker`, and so are the options (default: None).
    :param q: True for an unbounded queue of the worker's own; or a queue class, such as
        :class:`queue.PriorityQueue` or :class:`asyncio.Queue`. A class needs only ``put()`` and
        ``get()``; both may be coroutine functions. ``queue=`` is the same.

    >>> @background_worker(q=True)
    ... def shout(word, words):
    ...     words.append(word.upper())
    ...     return word != 'stop'
    >>> words = []
    >>> shout.put_threadsafe('go')
    >>> shout.start(words)
    True
    >>> shout.put_threadsafe('stop')
    >>> shout.wait_until_stop(), words
    (True, ['GO', 'STOP'])
    """

    _worker_options: tuple[str, ...] = ("q", "queue")
    _worker_stops_first = False
    _worker_has_queue = True

    def _worker_set_up(self, options: dict[str, Any]) -> None:
        super()._worker_set_up(options)
        kind: Any = options.get("q", options.get("queue"))
        # atasker takes everything that is no class for True.
        if kind is None or _modes.legacy and not isinstance(kind, type):
            kind = True
        check_queue_class(kind)
        self._worker_queue_class: Any = kind
        #: The put() of the queue is a coroutine function of its own, which is awaited also if there
        #: is room.
        self._worker_puts_in_loop = (kind is not True and is_coroutine_function(kind.put)
                                     and has_own(kind, "put"))
        self._worker_wants_task_done = False
        self._worker_create_queue()
        self.supervisor._supervisor_parts.schedulers.add_queue_worker(self)

    def _worker_create_queue(self) -> None:
        """Create the queue and what goes with it, all of it empty."""
        # Guards a queue of asyncio, and the items that are not in it.
        self._worker_items_lock = RLock()
        # These come before the items of the queue.
        self._worker_returned_items: deque[Any] = deque()
        # Triggers whose get() has taken an item and has not returned it.
        self._worker_holding: set[FetchTrigger] = set()
        self._worker_scheduled: ScheduledPuts | None = None    # if put() is to be awaited in a loop
        if self._worker_puts_in_loop or is_asyncio_queue(self._worker_queue_class):
            self._worker_scheduled = ScheduledPuts(self)
        self._worker_queue: Any = None
        #: Takes an item at once; None if a loop has to fetch it.
        self._worker_getter: Callable[[], Any] | None = None
        if not self._worker_queue_needs_loop():
            self._worker_make_queue()

    def _worker_queue_needs_loop(self) -> bool:
        # Before Python 3.10 a queue of asyncio belongs to a loop from the beginning. A class with
        # coroutine functions of its own may make such a queue. An own class of a program for
        # atasker is called in the loop, at the start.
        kind = self._worker_queue_class
        if sys.version_info >= (3, 10) and not _modes.legacy:
            return False
        return is_asyncio_queue(kind) or (self._worker_puts_in_loop
                                          and is_coroutine_function(kind.get))

    def _worker_make_queue(self) -> None:
        if self._worker_queue_class is True:
            self._worker_queue = WorkerQueue(self._worker_notify, self._worker_is_idle)
        else:
            try:
                self._worker_queue = make_queue(self._worker_queue_class, self._worker_notify,
                                                self._worker_items_lock)
            except TypeError as error:
                raise InvalidTypeError("q takes a queue class that needs no arguments; "
                                       f"{self._worker_queue_class.__name__}: {error}") from error
            self._worker_wants_task_done = has_method(self._worker_queue, "task_done")
        self._worker_getter = getter_of(self._worker_queue_class, self._worker_queue)

    # -- for applications --------------------------------------------------------------------------

    def put_threadsafe(self, t: Any) -> None:
        """Put an item into the queue by its ``put()``. Any thread may call this.

        If ``put()`` is a coroutine function, as in asyncio, it is awaited later in the worker's
        loop. The call then returns at once, also if the queue is full, and the item counts as
        accepted. Before the first start, the item waits for the loop. The ``put()`` of a queue for
        threads blocks while the queue is full. Without a queue class, signal handlers may call
        this, too.

        :param t: the item.
        """
        scheduled, queue = self._worker_scheduled, self._worker_queue
        if scheduled is None:
            if self._worker_queue_class is not True:
                self._worker_warn_if_stuck(queue)
            queue.put(t)
        elif (self._worker_puts_in_loop or queue is None or scheduled
              or not queue.worker_put_if_room(t)):
            scheduled.add(t)        # first, as a start may come meanwhile: it looks for items
            session = self._worker_session
            if session is not None and session.active:
                self._worker_open_scheduled(session)
                if scheduled.is_closed:
                    self._worker_notify()      # the trigger sees that, and the worker stops

    def _worker_warn_if_stuck(self, queue: Any) -> None:
        """Warn that a put is about to block until another thread starts the worker."""
        session = self._worker_session
        if session is not None and session.active:
            return
        try:
            full = queue.full()
        except Exception:           # a class needs no full()
            return
        if full is True:
            log.warning("put_threadsafe() of worker %s blocks: its queue is full, and the worker "
                        "does not run; call start() first", self.name)

    async def put(self, t: Any) -> None:
        """Put an item into the queue. For coroutines.

        While a bounded queue of asyncio is full, the call waits.

        :param t: the item.
        :raises queue.Full: a bounded queue for threads is full.
        """
        queue = self.get_queue_obj()
        if self._worker_scheduled is not None:
            await queue.put(t)
        elif hasattr(queue, "put_nowait"):
            queue.put_nowait(t)
        else:
            queue.put(t)

    def get_queue_obj(self) -> Any:
        """Return the queue.

        Items that are put by its own ``put`` and ``put_nowait`` reach the function, too.

        :raises InvalidArgumentError: (a ValueError) before the first start, on Python 3.8 and 3.9,
            for a queue of asyncio or one with coroutine functions of its own. Under ``exec`` and
            ``install()``, that is so for the latter on every Python.
        """
        if self._worker_queue is None:
            raise InvalidArgumentError(f"worker {self.name} has its queue from its first start on, "
                                       "since the queue may belong to the loop of the worker; "
                                       "start() first")
        return self._worker_queue

    def before_queue_get(self) -> None:
        """Called before an item is taken."""

    def after_queue_get(self, task: Any) -> None:
        """Called with an item that has been taken, before the function.

        :param task: the item.
        """

    # -- notifications -----------------------------------------------------------------------------

    def _worker_notify(self) -> None:
        """An item has been put into the queue."""
        session = self._worker_session
        if session is not None:
            session.trigger.note()
            session.request_step()

    def _worker_is_idle(self, callback: Callable[[], object]) -> bool:
        """Return True if all items are handled, or none is going to be.

        Else the callback is called when that may be so.
        """
        session = self._worker_session
        return (session is None
                or session.is_idle(lambda: not self._worker_waiting(), callback))

    def _worker_request_step(self) -> None:
        session = self._worker_session
        if session is not None:
            session.request_step()

    def _worker_open_scheduled(self, session: Session) -> None:
        assert self._worker_scheduled is not None
        try:
            self._worker_scheduled.open(session.loop or self.supervisor.own_loop().get_loop())
        except SupervisorStoppedError:
            pass                            # the items wait for the next start

    # -- start and stop ----------------------------------------------------------------------------

    def _worker_prepare(self, loop: Any) -> None:
        if self._worker_queue is None:
            from asyncio import _get_running_loop, _set_running_loop

            # The queue takes the running loop to be its own. The loop itself need not run yet, so
            # it cannot make it.
            before = _get_running_loop()
            if loop is None and not is_asyncio_queue(self._worker_queue_class):
                own = self.supervisor.own_loop().get_loop()     # it fetches the items, too
            else:
                own = loop or self.supervisor._supervisor_parts.pools.loops.resolve(
                    self._worker_loop)
            _set_running_loop(own)
            try:
                self._worker_make_queue()
            finally:
                _set_running_loop(before)

    def _worker_make_trigger(self, loop: Any) -> Trigger:
        if self._worker_getter is not None:
            return QueueTrigger()
        return FetchTrigger(self, loop or self.supervisor.own_loop().get_loop())

    def _worker_before_first_step(self, session: Session) -> None:
        if self._worker_scheduled is not None:
            self._worker_scheduled.close()         # all items go to the loop of this session
            if self._worker_scheduled:
                self._worker_open_scheduled(session)
        if self._worker_waiting():                 # put before the start, or left by the last stop
            session.trigger.note()

    def _worker_begin_drain(self) -> bool:
        session = self._worker_session
        if session is None or not session.active or session.starter is not None:
            return False
        trigger: Any = session.trigger
        waiting = self._worker_count_waiting()
        trigger.limit_to(waiting)
        trigger.note()                      # have the queue asked once more
        session.request_step()
        return bool(waiting) or session.busy

    def _worker_wait_drained(self, deadline: float | None) -> None:
        session = self._worker_session
        if session is not None:
            trigger: Any = session.trigger
            session.wait_idle(lambda: trigger.is_exhausted() or self._worker_is_settled(), deadline)

    def _worker_before_join(self) -> None:
        if self._worker_waiting():
            # Have the queue asked once more, as it may not have given an item that it has. Without
            # items, this step would make an idle worker look busy.
            self._worker_notify()

    def _worker_is_settled(self) -> bool:
        """Return True if an idle worker has nothing to wait for."""
        if self._worker_getter is None:
            return not self._worker_count_waiting()
        return not self._worker_scheduled   # the queue has been asked and gives no more items

    def _worker_report_items_left(self) -> int:
        left = self._worker_count_waiting()
        session = self._worker_session
        if left and (session is None or session.report_token.take()):
            log.warning("worker %s %s: %d item(s) are left in its queue and wait for its %s start",
                        self.name, "has not been started" if session is None else "is stopped",
                        left, "first" if session is None else "next")
        return left

    def _worker_close_runs_code(self) -> bool:
        return self._worker_queue_class is not True or super()._worker_close_runs_code()

    def _worker_reset_after_fork(self) -> None:
        super()._worker_reset_after_fork()
        # The items are the parent's. Another thread of the parent may have held the queue's locks.
        try:
            self._worker_create_queue()
        except Exception:
            log.exception("worker %s: there is no queue in the forked process", self.name)

    # -- items -------------------------------------------------------------------------------------

    def _worker_next_item(self, trigger: Any) -> tuple[Any, ...] | None:
        if self._worker_getter is not None:        # else the trigger has called it
            self._worker_call_hook("before_queue_get", caught=BaseException)
        trigger.item_taken()
        try:
            item = self._worker_take_item()
        except BaseException as error:
            # each kind of queue has its own error for an empty queue
            trigger.item_returned()
            if "Empty" not in class_name(type(error)):
                log.exception("worker %s: its queue could not give an item", self.name)
                session = self._worker_session
                if session is not None:
                    trigger.get_failed(session.timer.clock())
            return None
        self._worker_call_hook("after_queue_get", item, caught=BaseException)
        if item is None and _modes.legacy:      # in atasker, None ends the loop of the worker
            session = self._worker_session
            if session is not None:
                session.stop_worker()
            return None
        return (item,)

    def _worker_take_item(self) -> Any:
        if self._worker_returned_items:
            return self._worker_returned_items.popleft()
        if self._worker_getter is None:
            raise Empty
        item = self._worker_getter()
        item_taken(self._worker_queue)
        return item

    def _worker_return_item(self, taken: tuple[Any, ...], trigger: Any) -> None:
        self._worker_returned_items.extend(taken)
        trigger.item_returned()

    def _worker_item_done(self, trigger: Trigger) -> None:
        if self._worker_wants_task_done:
            try:
                self._worker_queue.task_done()
            except ValueError:              # the application has called it
                pass
            except BaseException:
                log.exception("worker %s: the task_done() of its queue raised", self.name)

    def _worker_waiting(self) -> int:
        if not is_asyncio_queue(self._worker_queue_class):
            return self._worker_sum_items()     # no lock is held while code of the application runs
        with self._worker_items_lock:
            return self._worker_sum_items()

    def _worker_sum_items(self) -> int:
        # In the order in which an item moves. Without the lock, an item that moves meanwhile counts
        # at least once.
        scheduled, queue = self._worker_scheduled, self._worker_queue
        number = 0 if scheduled is None else len(scheduled)
        number += 0 if queue is None else size_of(queue)
        return number + len(self._worker_holding) + len(self._worker_returned_items)

    def _worker_count_waiting(self) -> int:
        """Return the number of items that wait, or 0 if the queue cannot tell."""
        try:
            return self._worker_waiting()
        except Exception:
            log.exception("worker %s: its queue does not tell how many items it has", self.name)
            return 0


class _WorkerEvent:
    """The event of an event worker. Setting it triggers the worker."""

    __slots__ = ("_worker",)

    def __init__(self, worker: BackgroundEventWorker) -> None:
        self._worker = worker

    def set(self) -> None:
        """Have the function run."""
        self._worker.trigger_threadsafe(force=True)

    def clear(self) -> None:
        """Withdraw the triggers for which no run has begun."""
        self._worker._worker_event_calls().clear()

    def is_set(self) -> bool:
        """Return True if the event has been set and the run for it has not begun."""
        return any(list(self._worker._worker_event_calls()))


class BackgroundEventWorker(BackgroundAsyncWorker[P, T_co]):
    """Runs its function when it is triggered.

    Until then the worker occupies no thread and no slot. Triggers that come before the run for the
    first of them has begun count as one. While the function runs, a trigger does nothing unless it
    is forced; then another run follows. So a function that triggers its own worker has to force
    that.

    >>> @background_worker(e=True)
    ... def once(_worker):
    ...     return False
    >>> once.trigger_threadsafe()           # it has not been started
    False
    >>> once.start(), once.trigger_threadsafe(), once.wait_until_stop()
    (True, True, True)
    """

    _worker_options: tuple[str, ...] = ("e", "event")

    def trigger_threadsafe(self, force: bool = False) -> bool:
        """Have the function run. Any thread and any signal handler may call this.

        A stop that comes before the run has begun withdraws it.

        :param force: if the function is running, have another run follow (default: False).
        :return: False if no run follows: the function is running, or the worker is not active.
        """
        session: Any = self._worker_session
        if session is None or not session.active or (session.busy and not force):
            return False
        session.trigger.calls.append(True)
        session.request_step()
        return True

    async def trigger(self, force: bool = False) -> bool:
        """:meth:`trigger_threadsafe`, for coroutines. It does not block either.

        :param force: as for :meth:`trigger_threadsafe` (default: False).
        :return: the same as :meth:`trigger_threadsafe`.
        """
        return self.trigger_threadsafe(force)

    def get_event_obj(self) -> Any:
        """Return an object whose ``set()`` triggers the worker.

        It has ``clear()`` and ``is_set()``, too.
        """
        return _WorkerEvent(self)

    def _worker_event_calls(self) -> deque[bool]:
        session: Any = self._worker_session
        return deque() if session is None else session.trigger.calls

    def _worker_make_trigger(self, loop: Any) -> Trigger:
        return EventTrigger()


def _time(name: str, doc: str) -> Any:
    """Return a property of interval workers."""
    def set_time(self: Any, value: Any) -> None:
        # a subclass may assign a delay before it calls __init__(), which replaces it
        times = self.__dict__.setdefault(
            "_worker_times", SimpleNamespace(delay=1, delay_before=None))
        setattr(times, name, _seconds(name, value))

    # The getter has no frame of Python: each run reads it several times.
    return property(attrgetter(f"_worker_times.{name}"), set_time, doc=doc)


class BackgroundIntervalWorker(BackgroundEventWorker[P, T_co]):
    """Runs its function at an interval or with a delay, and when it is triggered.

    An interval counts from start to start, a delay from the end of a run to the next start. Between
    two runs the worker occupies no thread and no slot. Intervals do not drift: each deadline is the
    previous deadline and the interval. An interval or a delay of 0 seconds runs the function again
    and again.

    The attributes ``delay`` (seconds between two runs), ``keep_interval`` (True if they count from
    start to start) and ``delay_before`` may be assigned at any time. They hold from the end of the
    current run on. ``interval`` is ``delay`` if ``keep_interval``, else None.

    :param name: as for :class:`BackgroundWorker`, and so are the options (default: None).
    :param executor_func: as for :class:`BackgroundWorker`, and so are the options (default: None).
    :param interval: seconds from one start to the next.
    :param delay: seconds from the end of a run to the next start (default without ``interval``: 1).
        ``delay_after=`` is the same.
    :param delay_before: seconds before each run, in addition to ``delay``. With ``interval``, they
        are a part of it.
    :param overlap: what follows a run that has lasted longer than the interval. ``'shift'`` (the
        default): the next run, at once, and the period counts from there. The other policies keep
        to the times at which runs were due. ``'skip'`` leaves out the missed runs and counts them.
        ``'coalesce'`` makes one run for all of them, ``'queue'`` one run for each.
    :param i: True makes a worker with a delay of 1 s, unless one of the above is given.

    >>> @background_worker(interval=0.001)
    ... def tick(ticks):
    ...     ticks.append('tick')
    ...     return len(ticks) < 3
    >>> ticks = []
    >>> tick.start(ticks), tick.wait_until_stop(), ticks
    (True, True, ['tick', 'tick', 'tick'])
    """

    _worker_options: tuple[str, ...] = ("e", "event", "i", "interval", "delay", "delay_after",
                                        "delay_before", "overlap")

    overlap: str = worker_setting("overlap")

    def _worker_set_up(self, options: dict[str, Any]) -> None:
        super()._worker_set_up(options)
        if options.get("i") not in (None, True, False) and not _modes.legacy:
            raise InvalidTypeError(f"i takes True, not {options['i']!r}; give the seconds as "
                                   "interval= or delay=")
        self._worker_times: SimpleNamespace = SimpleNamespace(delay=1, delay_before=None)
        self.keep_interval: bool = False
        self._worker_set_times(options.get("interval"),
                               options.get("delay", options.get("delay_after")),
                               options.get("delay_before"))
        overlap = OVERLAPS[0] if options.get("overlap") is None else options["overlap"]
        if overlap not in OVERLAPS:
            raise InvalidArgumentError(f"overlap takes one of {', '.join(OVERLAPS)}, "
                                       f"not {overlap!r}")
        self._worker_settings["overlap"] = overlap

    delay: float | None = _time("delay", "The seconds between two runs.")
    delay_before: float | None = _time("delay_before", "The seconds before each run, or None.")

    @property
    def interval(self) -> float | None:
        """The seconds from start to start, or None."""
        seconds: float | None = self.__dict__.get(
            "interval", self.delay if self.keep_interval else None)
        return seconds

    @interval.setter
    def interval(self, seconds: float | None) -> None:
        # in atasker, workers have no such attribute: a subclass may use the name for anything
        if _modes.legacy:
            self.__dict__["interval"] = seconds
        else:
            self._worker_set_times(seconds, None, None)

    def _worker_set_times(self, interval: Any, delay: Any, before: Any) -> None:
        """Check the times and set those that are not None.

        Interval and delay replace each other.
        """
        interval = _seconds("interval", interval)
        delay = _seconds("delay", delay)
        before = _seconds("delay_before", before)
        if interval is not None and delay is not None and not _modes.legacy:
            raise InvalidArgumentError("interval and delay exclude each other: one counts from "
                                       "start to start, the other from end to start")
        if interval is not None:
            self.delay, self.keep_interval = interval, True
        elif delay is not None:
            self.delay, self.keep_interval = delay, False
        if before is not None:
            self.delay_before = before

    def _worker_take_overrides(self, kwargs: dict[str, Any]) -> None:
        after = kwargs.pop("_delay_after", None)
        self._worker_set_times(kwargs.pop("_interval", None), kwargs.pop("_delay", after),
                               kwargs.pop("_delay_before", None))
        super()._worker_take_overrides(kwargs)

    def _worker_make_trigger(self, loop: Any) -> Trigger:
        return IntervalTrigger(self, self._worker_settings["overlap"], self._worker_note_missed)

    def _worker_note_missed(self, ticks: int) -> None:
        self._worker_missed += ticks


def _seconds(name: str, value: Any) -> float | None:
    return None if value is None else _checks.seconds(name, value)
