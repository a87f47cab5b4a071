"""BackendContract: tests for result backends of applications.

With pytest, or with :mod:`unittest` by adding ``unittest.TestCase`` to the bases::

    from atasker_like.testing import BackendContract

    class TestMyBackend(BackendContract):
        def make_backend(self, **options):
            return MyBackend("redis://localhost/15", **options)

>>> from atasker_like import MemoryBackend
>>> class TestMemory(BackendContract):
...     lasting = False
...     def make_backend(self, **options):
...         return MemoryBackend(**options)
>>> sorted(TestMemory.run_all())[0]
'test_a_closed_backend_opens_again'
"""
from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

from .engine.current import report_progress
from .engine.task import Progress
from .errors import RemoteError, ResultNotStoredError, TaskCancelledError, TaskNotFoundError
from .options import TaskOptions
from .results import AsyncResult, StoredResult, SyncResult, TaskState
from .supervisor.supervisor import TaskSupervisor
from .tasks import BoundTask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator

    from .results import Backend

__all__ = ["BackendContract"]

#: Seconds that anything is waited for at most.
PATIENCE = 30


class _Stubborn(Exception):
    """An error that cannot be made again of its arguments."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


class _Opaque:
    """A value that JSON cannot hold."""

    def __init__(self, content: int) -> None:
        self.content = content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Opaque) and other.content == self.content

    def __repr__(self) -> str:
        return f"<opaque {self.content}>"


class BackendContract:
    """The tests. Subclass it in a test module and define :meth:`make_backend`.

    Each test uses ids of its own: the store need not be empty, and its other entries stay.

    The tests call a backend in several threads.

    >>> from atasker_like.testing import BackendContract
    >>> class TestMemory(BackendContract):
    ...     def make_backend(self, **options):
    ...         return MemoryBackend(**options)
    >>> backend = TestMemory().make_backend(ttl=60)
    >>> backend.ttl
    60
    """

    #: True if another backend over the same store finds the results, even after the first one has
    #: been closed.
    lasting = True
    #: True if the backend forgets results after their ``ttl`` (see :meth:`let_pass`).
    expiring = True
    #: True if the backend lists the ids that it has: it overrides ``keys()``.
    listing = True

    def make_backend(self, **options: Any) -> Backend:
        """Return a backend over the store of the tests.

        :param options: those of :class:`~atasker_like.Backend`.
        """
        raise NotImplementedError

    def let_pass(self, backend: Backend, seconds: float) -> None:
        """Let time pass for the store. This method puts ``backend.clock`` forward.

        :param backend: a backend of :meth:`make_backend`.
        :param seconds: the time to pass.
        """
        now = backend.clock()
        backend.clock = lambda: now + seconds

    @classmethod
    def run_all(cls) -> list[str]:
        """Run all tests, without a framework, and return their names.

        :raises Exception: of the first one that fails.
        """
        names = [name for name in sorted(dir(cls)) if name.startswith("test_")]
        for name in names:
            getattr(cls(), name)()
        return names

    # -- texts by id ---------------------------------------------------------------------------

    def test_what_is_written_is_read(self) -> None:
        with closing(self.make_backend()) as backend:
            one, other, unknown = _ids(3)
            backend.write([(one, '{"state":"STARTED"}'), (other, '{"state":"RETRY"}')])
            _same(backend.read(one), '{"state":"STARTED"}')
            _same(backend.read(other), '{"state":"RETRY"}')
            _same(backend.read(unknown), None)

    def test_nothing_to_write(self) -> None:
        with closing(self.make_backend()) as backend:
            backend.write([])

    def test_the_last_text_of_an_id_counts(self) -> None:
        with closing(self.make_backend()) as backend:
            one, = _ids(1)
            backend.write([(one, "1"), (one, "2")])
            _same(backend.read(one), "2")
            backend.write([(one, "3")])
            _same(backend.read(one), "3")

    def test_many_at_once(self) -> None:
        with closing(self.make_backend()) as backend:
            ids = _ids(2000)
            backend.write([(task_id, str(number)) for number, task_id in enumerate(ids)])
            _same([backend.read(task_id) for task_id in ids],
                  [str(number) for number in range(len(ids))])

    def test_ids_of_all_kinds(self) -> None:
        with closing(self.make_backend()) as backend:
            start, = _ids(1)
            ends = ("", "a", "A", "%", "_", "'; --", '"', "\\", " ", "/", "*", ":", "\u00e9",
                    "e\u0301", "\U0001f40c", "x" * 300)
            ids = [start + end for end in ends]
            backend.write([(task_id, str(number)) for number, task_id in enumerate(ids)])
            _same([backend.read(task_id) for task_id in ids],
                  [str(number) for number in range(len(ids))])
            _same(backend.delete(start + "%"), True)
            _same([backend.read(task_id) is None for task_id in ids].count(True), 1)

    def test_ids_are_listed_once_each(self) -> None:
        if not self.listing:
            return
        with closing(self.make_backend()) as backend:
            ids = _ids(1500)
            backend.write([(task_id, "1") for task_id in ids])
            backend.write([(ids[0], "2")])
            backend.delete(ids[1])
            mine = filter(set(ids).__contains__, backend.keys())
            _same(sorted(mine), sorted([ids[0], *ids[2:]]))

    def test_forgotten_ids_are_not_listed(self) -> None:
        if not (self.listing and self.expiring):
            return
        with closing(self.make_backend(ttl=100)) as backend:
            one, other = _ids(2)
            backend.write([(one, "1")])
            self.let_pass(backend, 60)
            backend.write([(other, "2")])
            self.let_pass(backend, 60)
            _same(list(filter((one, other).__contains__, backend.keys())), [other])

    def test_a_large_text(self) -> None:
        with closing(self.make_backend()) as backend:
            one, = _ids(1)
            text = '{"state":"SUCCESS","result":"' + "x" * (1 << 20) + '"}'
            backend.write([(one, text)])
            _same(backend.read(one) == text, True)

    def test_what_is_deleted_is_gone(self) -> None:
        with closing(self.make_backend()) as backend:
            one, other = _ids(2)
            backend.write([(one, "1"), (other, "2")])
            _same((backend.delete(one), backend.delete(one)), (True, False))
            _same((backend.read(one), backend.read(other)), (None, "2"))

    def test_threads_at_once(self) -> None:
        with closing(self.make_backend()) as backend:
            ids = [_ids(50) for _ in range(6)]
            all_run = threading.Barrier(len(ids))

            def work(mine: list[str]) -> None:
                all_run.wait(PATIENCE)
                for task_id in mine:
                    backend.write([(task_id, task_id)])
                    _same(backend.read(task_id), task_id)

            with ThreadPoolExecutor(len(ids)) as executor:
                list(executor.map(work, ids))
            written = [task_id for mine in ids for task_id in mine]
            _same([backend.read(task_id) for task_id in written], written)

    # -- opening and closing -------------------------------------------------------------------

    def test_it_may_be_opened_and_closed_twice(self) -> None:
        backend = self.make_backend()
        backend.open()
        backend.open()
        backend.check()
        backend.close()
        backend.close()

    def test_a_closed_backend_opens_again(self) -> None:
        with closing(self.make_backend()) as backend:
            one, = _ids(1)
            backend.close()
            backend.write([(one, "1")])
            _same(backend.read(one), "1")

    def test_another_backend_over_the_same_store(self) -> None:
        if not self.lasting:
            return
        one, other = _ids(2)
        with closing(self.make_backend()) as backend:
            backend.write([(one, "1")])
            with closing(self.make_backend()) as second:
                _same(second.read(one), "1")
                second.write([(other, "2")])
            _same(backend.read(other), "2")
        with closing(self.make_backend()) as backend:
            _same((backend.read(one), backend.read(other)), ("1", "2"))

    def test_results_expire(self) -> None:
        if not self.expiring:
            return
        with closing(self.make_backend(ttl=100)) as backend:
            one, other = _ids(2)
            backend.write([(one, "1")])
            self.let_pass(backend, 60)
            backend.write([(other, "2")])
            _same((backend.read(one), backend.read(other)), ("1", "2"))
            self.let_pass(backend, 60)
            _same((backend.read(one), backend.read(other)), (None, "2"))
            backend.write([(one, "3")])
            _same(backend.read(one), "3")

    # -- results, through the coroutines -------------------------------------------------------

    def test_results_come_back_as_they_were(self) -> None:
        values = [None, True, False, 0, -1, 1 << 80, 0.1, 1e300, "", "text",
                  "\u00e9\n\x00\U0001f40c", "\ud800", [], {},
                  [1, [2, {"a": None}]], {"key": [1.5, "x"]}]

        async def check() -> None:
            with closing(self.make_backend()) as backend:
                await backend.connect()
                _same(await backend.healthcheck(), True)
                for value in values:
                    one, = _ids(1)
                    _same(await backend.get_result(one), None)
                    await backend.set_state(one, TaskState.STARTED)
                    _same(await backend.get_result(one), StoredResult(one, TaskState.STARTED))
                    stored = StoredResult(one, TaskState.SUCCESS, value)
                    await backend.store_result(one, stored)
                    _same(await backend.get_result(one), stored)
                    _same(await backend.delete_result(one), True)
                    _same(await backend.get_result(one), None)
                await backend.disconnect()

        asyncio.run(check())

    def test_what_describes_a_task_comes_back(self) -> None:
        async def check() -> None:
            with closing(self.make_backend()) as backend:
                one, other = _ids(2)
                described: dict[str, Any] = dict(
                    name="f", time_queued=1.5, time_started=2.5, attempts=2,
                    progress=Progress(1, 4, "half"), args=(1, [2]), kwargs={"key": None})
                begun = StoredResult(one, TaskState.STARTED, **described)
                ended = StoredResult(other, TaskState.SUCCESS, 5, time_completed=3.5, **described)
                await backend.store_result(one, begun)
                await backend.store_result(other, ended)
                _same(await backend.get_result(one), begun)
                _same(await backend.get_result(other), ended)
                if self.listing:
                    _same({one, other} <= set(await backend.get_ids()), True)

        asyncio.run(check())

    def test_errors_come_back_as_they_were(self) -> None:
        async def check() -> None:
            with closing(self.make_backend()) as backend:
                for error, kind, message in (
                        (ValueError("bad", 1), ValueError, "('bad', 1)"),
                        (KeyError("k"), KeyError, "'k'"),
                        (FileNotFoundError(2, "gone", "f"), FileNotFoundError,
                         "[Errno 2] gone: 'f'"),
                        (_Stubborn(1, 2), RemoteError,
                         "atasker_like.testing._Stubborn: 1 and 2")):
                    one, = _ids(1)
                    await backend.store_result(
                        one, StoredResult(one, TaskState.FAILURE, None, error, "the traceback"))
                    found = await backend.get_result(one)
                    assert found is not None and found.error is not None, "the stored error is gone"
                    words = (f"{found.error.type_name}: {found.error.message}"
                             if isinstance(found.error, RemoteError) else str(found.error))
                    _same((found.state, type(found.error), words),
                          (TaskState.FAILURE, kind, message))
                    _same(found.traceback, "the traceback")

        asyncio.run(check())

    # -- with a supervisor ---------------------------------------------------------------------

    def test_results_of_tasks(self) -> None:
        with closing(self.make_backend()) as backend, _supervised(backend) as supervisor:
            good = supervisor.put_task(pow, (2, 5))
            bad = supervisor.put_task(int, ("x",))
            opaque = supervisor.put_task(_Opaque, (5,))
            delayed = supervisor.put_task(pow, (2, 5), delay=1000)
            delayed.cancel()
            ids = [task.id for task in (good, bad, opaque, delayed)]
            for task in (good, bad, opaque):
                task.exception(PATIENCE)
            # All have ended: a result that is missing after the flush does not come any more.
            backend.flush(PATIENCE)
            stored = [backend.read(task_id) for task_id in ids]
            _same(stored.count(None), 0)
            _same(_kept(ids[0], backend), 32)
            _same(asyncio.run(AsyncResult(ids[0], backend).get(0)), 32)
            _raises(ValueError, "invalid literal", lambda: _kept(ids[1], backend))
            _raises(ResultNotStoredError, "<opaque 5>", lambda: _kept(ids[2], backend))
            _raises(TaskCancelledError, "cancelled", lambda: _kept(ids[3], backend))
        with closing(self.make_backend() if self.lasting else backend) as backend:
            if self.lasting:
                _same(_kept(ids[0], backend), 32)
                _raises(ValueError, "invalid literal", lambda: _kept(ids[1], backend))

    def test_name_times_and_arguments_of_tasks(self) -> None:
        with closing(self.make_backend(arguments=True)) as backend, \
                _supervised(backend) as supervisor:
            task = BoundTask(_double, TaskOptions(), None, None, None, supervisor)(number=4)
            task.value(PATIENCE)
            found = _stored(task.id, backend)
            _same((found.name, found.result, found.attempts, found.args, found.kwargs),
                  ("_double", 8, 1, (), {"number": 4}))
            times: list[Any] = [found.time_queued, found.time_started, found.time_completed]
            _same(times, sorted(times))
            _same(SyncResult(task.id, backend).info().kwargs, {"number": 4})
            if self.listing:
                _same(task.id in backend.ids(), True)

    def test_progress_of_tasks(self) -> None:
        with closing(self.make_backend()) as backend, _supervised(backend) as supervisor:
            begun, go_on = threading.Event(), threading.Event()

            def report() -> None:
                report_progress(1, 2, "half")
                begun.set()
                if not go_on.wait(PATIENCE):
                    raise AssertionError("the test did not read the progress")
                report_progress(2, 2)

            task = supervisor.put_task(report)
            begun.wait(PATIENCE)
            found = _stored(task.id, backend)
            _same((found.state, found.progress), (TaskState.STARTED, Progress(1, 2, "half")))
            go_on.set()
            task.value(PATIENCE)
            found = _stored(task.id, backend)
            _same(found.progress, Progress(2, 2, None))

    def test_tasks_are_cancelled_by_their_ids(self) -> None:
        with closing(self.make_backend()) as backend, _supervised(backend) as supervisor:
            task = supervisor.put_task(abs, (-1,), delay=1000)
            _same(SyncResult(task.id, backend).cancel(), True)
            _same(task.wait(PATIENCE).status, "cancelled")
            backend.flush(PATIENCE)
            _same(asyncio.run(AsyncResult(task.id, backend).cancel()), False)
            unknown = SyncResult(_ids(1)[0], backend)
            _raises(TaskNotFoundError, "no process can be asked", unknown.cancel)

    def test_what_is_to_be_ignored_is(self) -> None:
        with closing(self.make_backend()) as backend, _supervised(backend) as supervisor:
            task = BoundTask(abs, TaskOptions(ignore_result=True), None, None, None, supervisor)(-1)
            task.value(PATIENCE)
            backend.flush(PATIENCE)
            _same(backend.read(task.id), None)
            _same(SyncResult(task.id, backend).state(), TaskState.PENDING)

    def test_pickles_for_who_asks_for_them(self) -> None:
        with closing(self.make_backend(serializer="pickle")) as backend:
            with _supervised(backend) as supervisor:
                tasks = [supervisor.put_task(_Opaque, (5,)), supervisor.put_task(tuple, ([1, 2],)),
                         supervisor.put_task(abs, (-1,))]
                for task in tasks:
                    task.wait(PATIENCE)
                backend.flush(PATIENCE)
                _same([_kept(task.id, backend) for task in tasks], [_Opaque(5), (1, 2), 1])
            _same([_kept(task.id, backend) for task in tasks], [_Opaque(5), (1, 2), 1])
            if self.lasting:
                with closing(self.make_backend()) as careful:
                    _raises(ResultNotStoredError, "as a pickle",
                            lambda: _kept(tasks[0].id, careful))

    def test_many_tasks(self) -> None:
        with closing(self.make_backend()) as backend:
            with _supervised(backend) as supervisor:
                double = BoundTask(_double, TaskOptions(), None, None, None, supervisor)
                tasks = [double(number) for number in range(1000)]
                ids = [task.id for task in tasks]
                del tasks
            # The supervisor has been stopped, so all results are stored.
            _same([backend.codec.decode(task_id, backend.read(task_id)).result for task_id in ids],
                  [2 * number for number in range(len(ids))])


def _kept(task_id: str, backend: Backend) -> Any:
    """Return the value of a task that has been stored, or raise its error."""
    state = SyncResult(task_id, backend).state()
    if not state.is_final:
        raise AssertionError(f"the task has ended and is stored, and the store says {state}")
    return SyncResult(task_id, backend).get(0)


def _stored(task_id: str, backend: Backend) -> StoredResult:
    """Return what the backend holds of a task, after a flush."""
    backend.flush(PATIENCE)
    return backend.codec.decode(task_id, backend.read(task_id))


def _double(number: int) -> int:
    return 2 * number


@contextmanager
def _supervised(backend: Backend) -> Iterator[TaskSupervisor]:
    """Enter a supervisor whose results go to a backend, stopped at the end of the block."""
    supervisor = TaskSupervisor(pool_size=2)
    supervisor.set_result_backend(backend)
    try:
        yield supervisor
    finally:
        supervisor.stop(wait=PATIENCE)
        supervisor.set_result_backend(None)


def _ids(count: int) -> list[str]:
    prefix = "contract-" + os.urandom(8).hex()
    return [f"{prefix}-{number}" for number in range(count)]


# Functions instead of assert statements, which `python -O` removes. A failure shows the values.

def _same(found: Any, expected: Any) -> None:
    if found != expected:
        raise AssertionError(f"{str(found)[:500]!r} is not {str(expected)[:500]!r}")


def _raises(kind: Any, words: str, call: Callable[[], Any]) -> None:
    try:
        value = call()
    except kind as error:
        if words not in str(error):
            raise AssertionError(f"{words!r} is not in {str(error)!r}") from error
    else:
        raise AssertionError(f"{kind.__name__} was not raised; the call returned {value!r}")
