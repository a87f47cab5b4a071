"""The sides: this library and its peers behind one small interface, each used as its documentation
shows.

Nothing here is imported before the side is opened: a side must not pay for the imports of another.
"""

import importlib
import importlib.util
import time
from operator import methodcaller
from typing import Any, Callable, Dict, Iterable, List, Optional, Set, Type

OURS = 'ours'
STORED = 'ours, stored'    # with a SQLiteBackend
QUEUED = 'ours, queued'    # through queues

#: what must be importable for a side; the standard library's are always there
_MODULES = {
    OURS: 'atasker_like', STORED: 'atasker_like', QUEUED: 'atasker_like', 'atasker': 'atasker',
    'pebble': 'pebble', 'pebble threads': 'pebble',
    'loky': 'loky', 'joblib': 'joblib', 'joblib threads': 'joblib',
}

Function = Callable[..., Any]


def missing(side: str) -> Optional[str]:
    """The reason why a side cannot be opened, or None."""
    module = _MODULES.get(side)
    if module is None:
        return None
    spec = importlib.util.find_spec(module)
    # A directory without __init__.py is found, too, but is no library
    return None if spec is not None and spec.origin is not None else module + ' is not installed'


class Side:
    """One contender with its pool open.

    ``value`` is a plain attribute and ``bind`` gives what a caller would hold, so that the timed
    loops pay for the library and not for this class.
    """

    value: Callable[[Any], Any]
    executor: Any = None    # for loop.run_in_executor
    supervisor: Any = None  # for co_mp_apply

    def __init__(self, kind: str, size: int, start_method: str) -> None:
        self.kind = kind
        self.size = size
        self.start_method = start_method

    def bind(self, function: Function, **options: Any) -> Function:
        """A callable that submits the function with its own arguments and returns a handle."""
        raise NotImplementedError

    def wait_all(self, handles: List[Any]) -> List[Any]:
        value = self.value
        return [value(handle) for handle in handles]

    def burst(self, function: Function, count: int, *args: Any) -> List[Any]:
        submit = self.bind(function)
        return self.wait_all([submit(*args) for _ in range(count)])

    def map(self, function: Function, items: Iterable[Any]) -> List[Any]:
        raise NotImplementedError

    def renew(self) -> None:
        """After a pool process was killed: makes usable again what does not repair itself."""

    def close(self) -> None:
        """Ends the pool. May hang for all the harness cares; it has a time limit."""

    def warm_up(self) -> None:
        """Runs tasks until every pool process has run one; then some more for caches and estimates.
        """
        from tests.benchmarks import work
        if self.kind == 'process':
            seen: Set[int] = set()
            end = time.perf_counter() + 5
            while len(seen) < self.size and time.perf_counter() < end:
                seen.update(self.burst(work.pid_after, 2 * self.size, 0.01))
        self.burst(work.noop, 500)


class Ours(Side):
    value = methodcaller('value')

    def __init__(self, kind: str, size: int, start_method: str) -> None:
        super().__init__(kind, size, start_method)
        from atasker_like import TT_MP, TT_THREAD, TaskSupervisor, background_task, wait_completed
        self._background_task: Any = background_task
        self._wait_completed: Any = wait_completed
        self._type = TT_MP if kind == 'process' else TT_THREAD
        self.supervisor = TaskSupervisor()
        self.supervisor.set_thread_pool(pool_size=size, reserve_normal=0, reserve_high=0)
        if kind == 'process':
            self.supervisor.set_mp_pool(pool_size=size, reserve_normal=0, reserve_high=0,
                                        start_method=start_method)
        self.supervisor.start()

    def bind(self, function: Function, **options: Any) -> Function:
        options.setdefault('tt', self._type)
        bound: Function = self._background_task(function, supervisor=self.supervisor, **options)
        return bound

    def wait_all(self, handles: List[Any]) -> List[Any]:
        # strict: a task that failed raises, as it does when a peer's result is asked for
        results: List[Any] = self._wait_completed(handles, strict=True)
        return results

    def map(self, function: Function, items: Iterable[Any]) -> List[Any]:
        bound: Any = self.bind(function)
        return list(bound.map(items))

    def close(self) -> None:
        self.supervisor.stop()


class Stored(Ours):
    """With results kept in a file, in a folder of its own."""

    def __init__(self, kind: str, size: int, start_method: str) -> None:
        super().__init__(kind, size, start_method)
        import os
        import tempfile

        from atasker_like import SQLiteBackend
        self._folder = tempfile.TemporaryDirectory()
        self._backend: Any = SQLiteBackend(os.path.join(self._folder.name, 'results.db'))
        self.supervisor.set_result_backend(self._backend)

    def close(self) -> None:
        super().close()
        self.supervisor.set_result_backend(None)
        self._backend.close()
        self._folder.cleanup()


class Queued(Ours):
    """With a ThreadQueue or a ProcessQueue for each batch."""

    def map(self, function: Function, items: Iterable[Any]) -> List[Any]:
        from atasker_like import ProcessQueue, ThreadQueue
        queue: Any = (ProcessQueue if self.kind == 'process' else ThreadQueue)(
            supervisor=self.supervisor
        )
        queue.map(function, items)
        return list(queue.run().values)


class Atasker(Side):
    def __init__(self, kind: str, size: int, start_method: str) -> None:
        super().__init__(kind, size, start_method)
        import multiprocessing
        multiprocessing.set_start_method(start_method, force=True)  # it has no argument for this
        self._atasker: Any = importlib.import_module('atasker')
        self.value = self._atasker.wait_completed
        self._type = self._atasker.TT_MP if kind == 'process' else self._atasker.TT_THREAD
        self.supervisor = self._atasker.TaskSupervisor()
        self.supervisor.set_thread_pool(pool_size=size, reserve_normal=0, reserve_high=0)
        if kind == 'process':
            self.supervisor.create_mp_pool(processes=size)
            self.supervisor.set_mp_pool(pool_size=size, reserve_normal=0, reserve_high=0)
        self.supervisor.start()

    def bind(self, function: Function, **options: Any) -> Function:
        bound: Function = self._atasker.background_task(
            function, supervisor=self.supervisor, tt=self._type)
        return bound

    def wait_all(self, handles: List[Any]) -> List[Any]:
        results: List[Any] = self.value(handles)
        return results

    def warm_up(self) -> None:
        from tests.benchmarks import work
        self.burst(work.noop, 2 * self.size)  # more would take seconds

    def close(self) -> None:
        self.supervisor.stop(wait=2)


class _ConcurrentFutures(Side):
    """What has ``submit`` and ``map`` in the manner of concurrent.futures."""

    value = methodcaller('result')

    def bind(self, function: Function, **options: Any) -> Function:
        from functools import partial

        # partial: no Python frame of ours in between
        return partial(self.executor.submit, function)

    def map(self, function: Function, items: Iterable[Any]) -> List[Any]:
        return list(self.executor.map(function, items))

    def close(self) -> None:
        self.executor.shutdown()


class Threads(_ConcurrentFutures):
    def __init__(self, kind: str, size: int, start_method: str) -> None:
        super().__init__(kind, size, start_method)
        from concurrent.futures import ThreadPoolExecutor
        self.executor = ThreadPoolExecutor(size)


class Processes(_ConcurrentFutures):
    def __init__(self, kind: str, size: int, start_method: str) -> None:
        super().__init__('process', size, start_method)
        self.renew()

    def renew(self) -> None:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        if self.executor is not None:
            self.executor.shutdown()
        self.executor = ProcessPoolExecutor(
            self.size, mp_context=multiprocessing.get_context(self.start_method))


class Loky(_ConcurrentFutures):
    def __init__(self, kind: str, size: int, start_method: str) -> None:
        super().__init__('process', size, start_method)
        self.renew()

    def renew(self) -> None:
        # its own start method, which resembles spawn; the timeout keeps idle processes between two
        # rounds
        loky: Any = importlib.import_module('loky')
        self.executor = loky.get_reusable_executor(max_workers=self.size, timeout=300)

    def close(self) -> None:
        self.executor.shutdown(kill_workers=True)


class _MultiprocessingPool(Side):
    value = methodcaller('get')
    pool: Any

    def bind(self, function: Function, **options: Any) -> Function:
        apply_async = self.pool.apply_async

        def submit(*args: Any) -> Any:
            return apply_async(function, args)
        return submit

    def map(self, function: Function, items: Iterable[Any]) -> List[Any]:
        results: List[Any] = self.pool.map(function, items, chunksize=1)  # 1: tasks, as everywhere
        return results

    def close(self) -> None:
        self.pool.terminate()
        self.pool.join()


class ThreadPool(_MultiprocessingPool):
    def __init__(self, kind: str, size: int, start_method: str) -> None:
        super().__init__(kind, size, start_method)
        from multiprocessing.pool import ThreadPool as Pool
        self.pool = Pool(size)


class ProcessPool(_MultiprocessingPool):
    def __init__(self, kind: str, size: int, start_method: str) -> None:
        super().__init__('process', size, start_method)
        import multiprocessing
        self.pool = multiprocessing.get_context(start_method).Pool(size)


class _Pebble(Side):
    value = methodcaller('result')
    pool: Any

    def bind(self, function: Function, **options: Any) -> Function:
        schedule = self.pool.schedule

        def submit(*args: Any) -> Any:
            return schedule(function, args=args)
        return submit

    def map(self, function: Function, items: Iterable[Any]) -> List[Any]:
        return list(self.pool.map(function, items, chunksize=1).result())

    def close(self) -> None:
        self.pool.stop()
        self.pool.join()


class PebbleThreads(_Pebble):
    def __init__(self, kind: str, size: int, start_method: str) -> None:
        super().__init__(kind, size, start_method)
        pebble: Any = importlib.import_module('pebble')
        self.pool = pebble.ThreadPool(max_workers=size)


class PebbleProcesses(_Pebble):
    def __init__(self, kind: str, size: int, start_method: str) -> None:
        super().__init__('process', size, start_method)
        import multiprocessing
        pebble: Any = importlib.import_module('pebble')
        self.pool = pebble.ProcessPool(
            max_workers=size, context=multiprocessing.get_context(start_method))


class _Joblib(Side):
    """Has no handle of a single task: only whole bursts, which it cuts into batches as it sees fit.
    """

    prefer = ''

    def __init__(self, kind: str, size: int, start_method: str) -> None:
        super().__init__('process' if self.prefer == 'processes' else 'thread', size, start_method)
        joblib: Any = importlib.import_module('joblib')
        self._delayed = joblib.delayed
        self._parallel = joblib.Parallel(n_jobs=size, prefer=self.prefer).__enter__()

    def burst(self, function: Function, count: int, *args: Any) -> List[Any]:
        task = self._delayed(function)
        results: List[Any] = self._parallel(task(*args) for _ in range(count))
        return results

    def close(self) -> None:
        self._parallel.__exit__(None, None, None)


class JoblibThreads(_Joblib):
    prefer = 'threads'


class JoblibProcesses(_Joblib):
    prefer = 'processes'


_SIDES: Dict[str, Type[Side]] = {
    OURS: Ours, STORED: Stored, QUEUED: Queued, 'atasker': Atasker,
    'TPE': Threads, 'ThreadPool': ThreadPool, 'pebble threads': PebbleThreads,
    'joblib threads': JoblibThreads,
    'PPE': Processes, 'Pool': ProcessPool, 'pebble': PebbleProcesses, 'loky': Loky,
    'joblib': JoblibProcesses,
}


def open_side(name: str, params: Dict[str, Any]) -> Side:
    return _SIDES[name](params['kind'], params['size'], params['start_method'])
