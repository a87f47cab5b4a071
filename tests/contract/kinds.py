"""The implementations that the contract is held against, behind one face."""
import concurrent.futures
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import wraps

from atasker_like import TASK_NORMAL, TT_COROUTINE, TT_MP, TT_THREAD, background_task

from ..support.internals import parts
from . import functions

#: Functions that would block a loop have a twin of their own.
_TWINS = {
    functions.enter: functions.co_enter,
    functions.enter_and_fail: functions.co_enter_and_fail,
    functions.enter_and_check: functions.co_enter_and_check,
    functions.arrive_and_check: functions.co_arrive_and_check,
    functions.report: functions.co_report,
}


def as_coroutine_function(function):
    """The same function, for a loop."""
    twin = _TWINS.get(function)
    if twin is None:
        @wraps(function)
        async def twin(*args, **kwargs):
            return function(*args, **kwargs)
    return twin


_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"

#: Executors of an application's own, by the name of their kind.
EXECUTORS = {
    "PPE": lambda size: ProcessPoolExecutor(size, mp_context=multiprocessing.get_context(_METHOD)),
    "TPE": ThreadPoolExecutor,
    "Pool": lambda size: multiprocessing.get_context("fork" if _METHOD == "forkserver"
                                                     else "spawn").Pool(size),
}
if hasattr(concurrent.futures, "InterpreterPoolExecutor"):      # Python 3.14
    EXECUTORS["interpreters"] = concurrent.futures.InterpreterPoolExecutor


def end_executor(executor):
    """Shut an executor down and wait until its threads and processes are gone."""
    if hasattr(executor, "shutdown"):
        executor.shutdown()
    else:
        executor.terminate()
        executor.join()
        # It would close these when nothing refers to it any more.
        for process in executor._pool:
            process.close()
        for queue in vars(executor).values():
            for end in ("_reader", "_writer"):
                if hasattr(queue, end):
                    getattr(queue, end).close()


def use_template(supervisor):
    """Have a template process fork the pool processes, as it does for legacy programs."""
    pool = parts(supervisor).processes.pool()
    pool.start_method = "fork"
    pool.forks_from_template = True


class Kind:
    """Threads, coroutines, processes by one start method, or an executor; one place, so that what
    waits can be seen."""

    def __init__(self, name, supervisor, places=1):
        self.name = name
        self.supervisor = supervisor
        self.tt = {"threads": TT_THREAD, "coroutines": TT_COROUTINE}.get(name, TT_MP)
        self.in_process = self.tt == TT_MP
        self.executors = []
        self.set_places(places)

    def set_places(self, size, normal=0, high=0):
        if self.name in EXECUTORS:
            self.executors.append(EXECUTORS[self.name](size + normal + high))
            self.supervisor.mp_pool = self.executors[-1]
            self.supervisor.set_mp_pool(pool_size=size, reserve_normal=normal, reserve_high=high)
        elif self.name == "template":
            use_template(self.supervisor)
            self.supervisor.set_mp_pool(pool_size=size, reserve_normal=normal, reserve_high=high)
        elif self.in_process:
            self.supervisor.set_mp_pool(pool_size=size, reserve_normal=normal, reserve_high=high,
                                        start_method=self.name)
        elif self.tt == TT_THREAD:
            self.supervisor.set_thread_pool(pool_size=size, reserve_normal=normal,
                                            reserve_high=high)

    @property
    def start_method(self):
        return "fork" if self.name == "template" else self.name

    def close(self):
        """End the executors that were made."""
        if self.executors:
            self.supervisor.stop(wait=10, cancel_tasks=True)
        while self.executors:
            end_executor(self.executors.pop())

    def form(self, function):
        """The function as this kind runs it."""
        return as_coroutine_function(function) if self.tt == TT_COROUTINE else function

    def bind(self, function, **options):
        return background_task(self.form(function), tt=self.tt, supervisor=self.supervisor,
                               **options)

    def put(self, function, args=(), kwargs=None, **options):
        return self.supervisor.put_task(self.form(function), args, kwargs, tt=self.tt, **options)

    def occupy(self, gate, priority=TASK_NORMAL):
        """Take the one place, until the gate is opened; return when it is taken."""
        function = functions.hold_loop if self.tt == TT_COROUTINE else functions.enter
        task = background_task(function, tt=self.tt, supervisor=self.supervisor,
                               priority=priority)(gate)
        gate.wait_entered()
        return task
