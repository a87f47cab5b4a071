"""The contract of an engine in the position of the process pool, as a program.

``python -m tests.interop.contract ENGINE`` prints the outcome of each clause as JSON.
"""
import json
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

from atasker_like import (TASK_HIGH, TT_MP, PoolBrokenError, TaskPicklingError, TaskTimeoutError,
                          background_task, task_supervisor, wait_completed)
from tests.contract import functions as f

#: The modules that an engine needs, by its name.
ENGINES = {"ppe": "concurrent.futures", "interpreters": "concurrent.futures.interpreter",
           "mp_pool": "multiprocessing", "loky": "loky", "joblib": "joblib.externals.loky",
           "pebble": "pebble", "dask": "distributed", "dask_cluster": "distributed", "ray": "ray",
           "mpi": "mpi4py.futures"}
#: Engines that carry functions of the main module, lambdas and closures.
BY_VALUE = {"loky", "joblib", "dask", "dask_cluster", "ray"}
#: Engines that carry messages of calls that run.
LIVE = {"dask", "dask_cluster"}
#: How an application ends an engine, by its name.
END = dict.fromkeys(("ppe", "interpreters", "loky", "joblib"), lambda executor: executor.shutdown())
END["mp_pool"] = lambda pool: pool.terminate()
END["pebble"] = lambda pool: pool.close()
END["dask"] = END["dask_cluster"] = lambda executor: executor._client.close()
SLOTS = 2


@contextmanager
def engine(name):
    """An engine that runs two calls at once."""
    if name == "ppe":
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context
        with ProcessPoolExecutor(SLOTS, mp_context=get_context("spawn")) as executor:
            yield executor
    elif name == "interpreters":
        from concurrent.futures import InterpreterPoolExecutor
        with InterpreterPoolExecutor(SLOTS) as executor:
            yield executor
    elif name == "mp_pool":
        from multiprocessing import get_context
        with get_context("spawn").Pool(SLOTS) as pool:
            yield pool
    elif name in ("loky", "joblib"):
        if name == "loky":
            from loky import ProcessPoolExecutor
        else:
            from joblib.externals.loky import ProcessPoolExecutor
        executor = ProcessPoolExecutor(SLOTS)
        yield executor
        executor.shutdown(kill_workers=True)
    elif name == "pebble":
        from multiprocessing import get_context

        from pebble import ProcessPool
        with ProcessPool(max_workers=SLOTS, context=get_context("spawn")) as pool:
            yield pool
    elif name.startswith("dask"):
        from distributed import Client, LocalCluster
        apart = name == "dask_cluster"
        where = {"host": "127.0.0.1"} if apart else {}
        with LocalCluster(n_workers=2 if apart else 1, threads_per_worker=1 if apart else SLOTS,
                          processes=apart, dashboard_address=None, silence_logs=50,
                          **where) as cluster, Client(cluster) as client:
            yield client.get_executor()
            # A nanny that is starting another worker for one that has died cannot be closed.
            client.wait_for_workers(2 if apart else 1, timeout=60)
    elif name == "ray":
        import ray
        ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False,
                 logging_level="ERROR", _node_ip_address="127.0.0.1")

        @ray.remote
        def call(function, args):
            return function(*args)

        class RayExecutor(Executor):
            _max_workers = SLOTS

            def submit(self, function, *args):
                return call.remote(function, args).future()

        yield RayExecutor()
        ray.shutdown()
    elif name == "mpi":
        from mpi4py.futures import MPIPoolExecutor
        with MPIPoolExecutor() as executor:
            yield executor


def task(function, *args, **options):
    return background_task(function, tt=TT_MP, **options)(*args)


def values(name):
    return list(background_task(f.add, tt=TT_MP).map(range(50))) == list(range(50))


def slots(name):
    return task_supervisor.get_info().mp_pool_size == SLOTS


def errors(name):
    error = task(f.fail, "far away").exception(60)
    return type(error) is ValueError and "in fail" in str(error.__cause__)


def priorities(name):
    folder = tempfile.mkdtemp()
    go_on = os.path.join(folder, "go on")
    hogs = [task(f.wait_for_file, go_on) for _ in range(SLOTS)]
    waiting = [task(f.add, 0, priority=priority) for priority in (TASK_HIGH + 100,) * 4
               + (TASK_HIGH,)]
    open(go_on, "w").close()
    wait_completed(hogs + waiting, 60)
    shutil.rmtree(folder)
    # by their starts: the workers, and the threads that call callbacks, may overtake one another
    return waiting[4] in sorted(waiting, key=lambda one: one.time_started)[:SLOTS]


def arguments(name):
    return isinstance(task(f.add, threading.Lock()).exception(60), TaskPicklingError)


def results(name):
    """A result that cannot be pickled fails its task, and says so."""
    bad = task(f.give_lambda).exception(60)
    worst = task(f.give_lock).exception(60)
    return (task(f.add, 1).value(60) == 1
            and (bad is None if name in BY_VALUE else is_of_the_result(bad))
            and is_of_the_result(worst))


def is_of_the_result(error):
    return (isinstance(error, TaskPicklingError)
            and "ran, but its result cannot be pickled" in str(error))


def by_value(name):
    local = 2
    return name not in BY_VALUE or task(lambda x: x + local, 1).value(60) == 3


def timeouts(name):
    """The calls go on or end; the next tasks wait for their slots and do not time out."""
    hogs = [task(time.sleep, 1, timeout=0.3) for _ in range(SLOTS)]
    timed_out = [isinstance(hog.exception(60), TaskTimeoutError) for hog in hogs]
    return all(timed_out) and wait_completed(
        [task(f.add, number, timeout=30) for number in range(4)], 90) == [0, 1, 2, 3]


def cancel(name):
    hogs = [task(time.sleep, 0.5) for _ in range(SLOTS)]
    waiting = task(f.add, 1)
    cancelled = waiting.cancel() and waiting.wait(60).status == "cancelled"
    wait_completed(hogs, 60)
    return cancelled and task(f.add, 1).value(60) == 1


@contextmanager
def telling():
    """A task that logs, reports and waits; the records; a function to let the task go on."""
    records, folder = [], tempfile.mkdtemp()
    go_on = os.path.join(folder, "go on")
    handler = logging.Handler()
    handler.emit = records.append
    logging.getLogger("far").addHandler(handler)
    try:
        yield task(f.tell, go_on), records, lambda: open(go_on, "w").close()
    finally:
        logging.getLogger("far").removeHandler(handler)
        shutil.rmtree(folder)


def reports(name):
    """Log lines and the last report of progress come with the result, if not before."""
    with telling() as (told, records, go_on):
        go_on()
        told.value(60)
        settle(lambda: records)
        return (told.progress == (2, 2, None)
                and [record.getMessage() for record in records] == ["from afar"])


def live(name):
    """Log lines and reports come while the call runs."""
    if name not in LIVE:
        return True
    with telling() as (told, records, go_on):
        seen = settle(lambda: records and told.progress)
        runs = told.state == "running"
        go_on()
        told.value(60)
        return (seen == (1, 2, "half") and runs and told.progress == (2, 2, None)
                and [record.getMessage() for record in records] == ["from afar"]
                and (name == "dask" or records[0].task_id == told.id))


def settle(condition):
    """Return the first true value of a condition, or None if there is none in time."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.005)
    return None


def throughput(name):
    add = background_task(f.add, tt=TT_MP)
    return sum(wait_completed([add(number) for number in range(300)], 120)) == 44850


def death(name):
    """The task fails, or has to be given up; the others end. Last, since it breaks some engines."""
    if name in ("mpi", "interpreters", "dask"):
        return True                     # the process is this one, or takes the whole job with it
    error = task(os._exit, 3, timeout=5 if name == "mp_pool" else None).exception(100)
    return isinstance(error, (PoolBrokenError, TaskTimeoutError))


def stop(name):
    report = task_supervisor.stop(wait=30, cancel_tasks=True)
    return report.killed == 0 and task_supervisor.mp_pool is not None


def shut_down(name):
    """Calls that come after the end of the engine fail; another engine takes over."""
    task_supervisor.start()
    end = END.get(name)
    if end is None:
        return True             # a call starts Ray again; the workers of MPI end with the program
    end(task_supervisor.mp_pool)
    error = task(f.add, 1).exception(60)
    if not isinstance(error, PoolBrokenError) or "has been shut down" not in str(error):
        return False
    with ThreadPoolExecutor(1) as other:
        task_supervisor.mp_pool = other
        return task(f.add, 1).value(60) == 1 and task_supervisor.stop(wait=30).complete


CLAUSES = [values, slots, errors, arguments, results, by_value, timeouts, cancel, priorities,
           reports, live, throughput, death, stop,
           shut_down]


def main(name):
    found = {}
    with engine(name) as executor:
        task_supervisor.mp_pool = executor
        for clause in CLAUSES:
            try:
                found[clause.__name__] = clause(name)
            except BaseException as error:
                found[clause.__name__] = repr(error)
    print(json.dumps(found))
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
