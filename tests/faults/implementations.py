"""This library and its peers behind one small interface, each used as its documentation shows.

Nothing here is imported before the side is opened: a side must not be blamed for the threads and
files of another.
"""
import importlib
import importlib.util
import os
import signal
import sys
from contextlib import suppress

from ..support.internals import manager, parts
from ..support.internals.engine import spec_of
from ..support.internals.pool import supervisor_of_executor
from ..support.internals.process_pool import is_pausing, processes_of
from .oracle import CANCELLED, FAILED, SUCCEEDED


class Inexpressible(Exception):
    """The interface of a side has no words for what a scenario asks of it. That is no failure."""


class Side:
    """One contender. Only what all of them can express is here; scenarios of one side use
    ``native`` too."""

    #: whether rows assert exactly what they expect: error types and their words. Of a peer only the
    #: oracle is asked.
    strict = False
    #: kinds of tasks that it has
    kinds = ("process",)
    #: whether a call may have a timeout that ends it
    has_timeouts = False
    #: what must be importable
    module = None

    def __init__(self, method):
        self.method = method
        self.native = None

    @property
    def context(self):
        """The multiprocessing context of the start method."""
        import multiprocessing

        return multiprocessing.get_context(
            {"-": None, "template": "fork"}.get(self.method, self.method)
        )

    def open(self, size, **options):
        """Make the pool. Options are initializer, initargs and maxtasksperchild, by these names.

        :raises Inexpressible: the side has no such option.
        """
        raise NotImplementedError

    def submit(self, kind, function, args, options):
        """Submit a call and return what the side calls its handle. The options are those of a task:
        timeout."""
        raise NotImplementedError

    def outcome(self, native, timeout):
        """Wait for the end of a task; return (state, value or error), or None if it has not come in
        time."""
        raise NotImplementedError

    def task_of(self, native):
        """The task of this library behind what submit() returned."""
        raise NotImplementedError

    def state(self):
        """Say how the pool is, for somebody who has to find out why it does not go on."""
        return "not to be looked into"

    def show_tasks(self, file):
        """Print the tasks that have not ended, where the side knows them."""

    def cancel(self, native):
        """Cancel a task."""
        native.cancel()

    def watch(self, native, call):
        """Call something when the task has ended; return True if the side has such a thing."""
        return False

    def pids(self):
        """The pool processes that the side knows."""
        raise NotImplementedError

    def counters(self, kind):
        """What the side has counted, or None when it does not count."""

    def prepare_afterwards(self):
        """Called before the hundred tasks that must succeed after the fault."""

    def close(self):
        """End the pool: what was accepted is finished first."""
        raise NotImplementedError

    def kill(self):
        """End the pool by the harshest means that its interface has; closing did not return."""
        for pid in self.pids():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def start_method(supervisor, method):
    """Return what set_mp_pool() takes for the start method of a case."""
    if method == "template":
        pool = parts(supervisor).processes.pool()
        pool.start_method, pool.forks_from_template = "fork", True
        return "fork"
    return None if method == "-" else method


class Ours(Side):
    """This library."""

    strict = has_timeouts = True
    kinds = ("process", "thread", "coroutine")
    module = "atasker_like"

    def __init__(self, method):
        super().__init__(method)
        from atasker_like import (TT_COROUTINE, TT_MP, TT_THREAD, TaskSupervisor, WaitTimeoutError,
                                  background_task)
        from atasker_like.pools.process import \
            pool as processes  # loaded on first use otherwise, in the middle of a fault

        self._types = {"process": TT_MP, "thread": TT_THREAD, "coroutine": TT_COROUTINE}
        self._supervisor_class, self._bind = TaskSupervisor, background_task
        self._too_late = WaitTimeoutError
        self._bound = {}
        del processes

    def open(self, size, threads=4, **options):
        """Make a supervisor. ``threads`` is the size of its thread pool; other options are those of
        create_mp_pool() and set_mp_pool()."""
        self.native = self._supervisor_class(pool_size=threads, reserve_normal=0, reserve_high=0)
        method = start_method(self.native, self.method)
        like_a_pool = {
            name: options.pop(name)
            for name in ("initializer", "initargs", "maxtasksperchild")
            if name in options
        }
        self.native.set_mp_pool(
            pool_size=size, reserve_normal=0, reserve_high=0, start_method=method, **options
        )
        if like_a_pool:
            self.native.create_mp_pool(size, context=method, **like_a_pool)

    def state(self):
        pool = manager(self.native).processes
        with pool.lock:
            return "starting %s %s, pausing %s, active %s, waiting %s: %s" % (
                pool.starter.is_busy,
                pool.starter.is_running,
                is_pausing(pool.starter),
                pool.run_queue.active,
                pool.run_queue.waiting,
                [
                    "%s ready %s, ending %s, closed %s, in flight %s"
                    % (one.pid, one.ready, one.termination is not None, one.closed,
                       len(one.inflight))
                    for one in processes_of(pool)
                ],
            )

    def show_tasks(self, file):
        for task in list(manager(self.native).live_tasks(None).values()):
            print(task, spec_of(task).lane, file=file)
        self.native.dump(file)

    def submit(self, kind, function, args, options):
        # One spec for all calls that have the same options, as a decorated function has it: what
        # the supervisor learns of their duration decides how many of them are sent ahead.
        if isinstance(options.get("lane"), str):
            self.native.lane(options["lane"])
        key = (kind, function, tuple(sorted(options.items())))
        if key not in self._bound:
            self._bound[key] = self._bind(
                function, tt=self._types[kind], supervisor=self.native, **options
            )
        return self._bound[key](*args)

    def outcome(self, native, timeout):
        try:
            result = native.wait(timeout)
        except self._too_late:
            return None
        if result.status == FAILED:
            native.exception(0)             # someone has looked at it: it is not logged
        return result.status, result.exception if result.status == FAILED else result.value

    def task_of(self, native):
        return native

    def watch(self, native, call):
        native.add_done_callback(lambda task: call())
        return True

    def pids(self):
        return self.native.mp_pool.pids()

    def counters(self, kind):
        return getattr(self.native.stats(), kind).as_dict()

    def prepare_afterwards(self):
        self.native.start()

    def close(self):
        self.native.stop()


class _Futures(Side):
    """What has ``submit`` in the manner of concurrent.futures."""

    def submit(self, kind, function, args, options):
        return self.native.submit(function, *args, **options)

    def outcome(self, native, timeout):
        from concurrent.futures import CancelledError, TimeoutError, wait

        if not wait([native], timeout).done:
            return None
        try:
            return SUCCEEDED, native.result(0)
        except CancelledError:
            return CANCELLED, None
        except TimeoutError as error:       # the task's own: it is done
            return FAILED, error
        except BaseException as error:
            return FAILED, error

    def watch(self, native, call):
        native.add_done_callback(lambda future: call())
        return True

    def pids(self):
        return list(getattr(self.native, "_processes", None) or ())

    def close(self):
        self.native.shutdown(wait=True)


class OurExecutor(_Futures, Ours):
    """The executor of this library, with processes of its own."""

    has_timeouts = False
    kinds = ("process",)

    def open(self, size, threads=None, initializer=None, initargs=(), maxtasksperchild=None,
             **options):
        """Make the executor; ``native`` is its supervisor. Other options are those of
        set_mp_pool()."""
        from atasker_like import ProcessExecutor

        method = {"-": "forkserver", "template": "fork"}.get(self.method, self.method)
        self.executor = ProcessExecutor(size, method, initializer, initargs,
                                        max_tasks_per_child=maxtasksperchild)
        self.native = supervisor_of_executor(self.executor)
        start_method(self.native, self.method)
        if options:
            self.native.set_mp_pool(**options)

    def submit(self, kind, function, args, options):
        # the name is for the messages of the tasks of a supervisor
        options = {name: value for name, value in options.items() if name != "name"}
        if options:
            raise Inexpressible("the calls of an executor have no %s" % ", ".join(options))
        return self.executor.submit(function, *args)

    def task_of(self, native):
        return native.task

    def cancel(self, native):
        native.task.cancel()

    def outcome(self, native, timeout):
        found = super().outcome(native, timeout)
        if found is not None and found[0] == FAILED:
            native.exception(0)
        return found

    def pids(self):
        return Ours.pids(self)

    def close(self):
        self.executor.shutdown()


class Executor(_Futures):
    """ProcessPoolExecutor of the standard library."""

    def open(self, size, initializer=None, initargs=(), maxtasksperchild=None):
        from concurrent.futures import ProcessPoolExecutor

        options = {}
        if maxtasksperchild is not None:
            if sys.version_info < (3, 11) or self.method == "fork":
                raise Inexpressible(
                    "max_tasks_per_child came with Python 3.11, and is not for fork"
                )
            options["max_tasks_per_child"] = maxtasksperchild
        self.native = ProcessPoolExecutor(
            size, mp_context=self.context, initializer=initializer, initargs=initargs, **options
        )


class Loky(_Futures):
    """loky's executor, with processes started by its own method: it is made for that."""

    module = "loky"

    def __init__(self, method):
        super().__init__(method)
        # The tracker that it keeps is there before anything is counted, as the standard library's
        # is.
        importlib.import_module("loky.backend.resource_tracker")._resource_tracker.ensure_running()

    def open(self, size, initializer=None, initargs=(), maxtasksperchild=None):
        if maxtasksperchild is not None:
            raise Inexpressible("loky recycles by memory only")
        loky = importlib.import_module("loky")
        self.native = loky.ProcessPoolExecutor(size, initializer=initializer, initargs=initargs)

    def kill(self):
        self.native.shutdown(kill_workers=True)


class Pebble(_Futures):
    """pebble's process pool, the only peer with timeouts that end the work."""

    has_timeouts = True
    module = "pebble"

    def open(self, size, initializer=None, initargs=(), maxtasksperchild=None):
        pebble = importlib.import_module("pebble")
        self.native = pebble.ProcessPool(
            max_workers=size,
            max_tasks=maxtasksperchild or 0,
            initializer=initializer,
            initargs=list(initargs),
            context=self.context,
        )

    def submit(self, kind, function, args, options):
        return self.native.schedule(function, args=list(args), **options)

    def pids(self):
        return list(self.native._pool_manager.worker_manager.workers)

    def close(self):
        self.native.close()
        self.native.join()

    def kill(self):
        self.native.stop()
        self.native.join()


class Pool(Side):
    """multiprocessing.Pool."""

    def open(self, size, initializer=None, initargs=(), maxtasksperchild=None):
        self.native = self.context.Pool(size, initializer, initargs, maxtasksperchild)

    def submit(self, kind, function, args, options):
        return self.native.apply_async(function, args)

    def outcome(self, native, timeout):
        native.wait(timeout)
        if not native.ready():
            return None
        try:
            return SUCCEEDED, native.get(0)
        except BaseException as error:
            return FAILED, error

    def cancel(self, native):
        raise NotImplementedError("multiprocessing.Pool cannot cancel")

    def pids(self):
        return [process.pid for process in self.native._pool if process.exitcode is None]

    def close(self):
        self.native.close()
        self.native.join()

    def kill(self):
        self.native.terminate()
        self.native.join()


SIDES = {"ours": Ours, "ProcessExecutor": OurExecutor, "PPE": Executor, "Pool": Pool,
         "pebble": Pebble, "loky": Loky}
PEERS = tuple(name for name in SIDES if name != "ours")


def missing(name):
    """The reason why a side cannot be opened, or None."""
    module = SIDES[name].module
    if module is not None and importlib.util.find_spec(module) is None:
        return "%s is not installed: python -m pip install %s" % (module, module)
    return None
