"""The traceback of an error of this package ends at the call of the public function."""
import asyncio
import inspect
import logging
import sys
from types import FunctionType, SimpleNamespace

import pytest

import atasker_like
from atasker_like import (TT_MP, AsyncQueue, AsyncResult, BackgroundAsyncWorker,
                          BackgroundEventWorker, BackgroundIntervalWorker, BackgroundQueueWorker,
                          BackgroundWorker, Checkpoint, CheckpointError, ClosedError,
                          FunctionCollection, InvalidArgumentError, InvalidTypeError, Lane, Locker,
                          MemoryBackend, ProcessExecutor, ProcessQueue, SQLiteBackend,
                          SupervisorError, SyncResult, TaskCollection, TaskOptions, TaskSupervisor,
                          ThreadExecutor, ThreadQueue, WaitTimeoutError, amap, as_completed,
                          background_task, background_worker, co_as_completed, co_mp_apply,
                          co_wait_completed, g, iter_completed, pmap, run, service, tmap,
                          wait_completed)


def function(x=1, name=None):
    return x


def generator():
    yield 1


async def coroutine(x=1):
    return x


class Calibrate(service.Task):
    qubit: int


@pytest.fixture(scope="module")
def made():
    """What the calls need, made once."""
    supervisor = TaskSupervisor("of the test")
    supervisor.set_result_backend(MemoryBackend())
    queue = ThreadQueue(supervisor=supervisor)
    handle, group = queue.submit(abs, -1), queue.group([(abs, -1)])
    queue.run()
    laboratory = service.Service("lab", supervisor=supervisor)
    supervisor.create_mp_pool(1)
    processes = supervisor.mp_pool
    yield SimpleNamespace(
        supervisor=supervisor, queue=queue, handle=handle, group=group, service=laboratory,
        task=handle.task, loop=supervisor.create_aloop("own"),
        jobs=supervisor.create_async_job_scheduler("jobs"), backend=supervisor.result_backend,
        tasks=background_task(function, supervisor=supervisor), bound=queue.task(function),
        worker=background_worker(function, interval=1000, supervisor=supervisor),
        client=service.SyncClient(laboratory, supervisor=supervisor),
        async_queue=AsyncQueue(supervisor=supervisor),
        executor=ThreadExecutor(1, supervisor=supervisor), processes=processes)
    supervisor.stop()


def in_loop(call):
    """Make a call in a loop, and await what it returns."""
    async def main():
        await call()

    return asyncio.run(main())


async def first_of(items):
    async for _ in items:
        break


def unknown_lane(made):
    return background_task(function, supervisor=made.supervisor, lane="none")


#: For each public name: calls with an argument that is refused.
CALLS = {
    "ALoop.background_task": [lambda m: m.loop.background_task(3)],
    "ALoop.run": [lambda m: m.loop.run(3)],
    "ALoop.stop": [lambda m: m.loop.stop(wait="soon")],
    "AsyncJob": [lambda m: m.jobs.create_threadsafe(function)],
    "AsyncJobScheduler.create_threadsafe": [lambda m: m.jobs.create_threadsafe(coroutine, inter=1)],
    "AsyncJobScheduler.create": [lambda m: in_loop(lambda: m.jobs.create(function))],
    "AsyncJobScheduler.cancel": [lambda m: m.jobs.cancel(3)],
    "AsyncJobScheduler.stop": [lambda m: m.jobs.stop(wait="soon")],
    "AsyncQueue": [lambda m: AsyncQueue(timeout="soon"), lambda m: AsyncQueue(worker=1)],
    "AsyncQueue.map": [lambda m: in_loop(lambda: AsyncQueue().map(coroutine, 3))],
    "AsyncQueue.asubmit": [lambda m: in_loop(lambda: m.async_queue.asubmit(coroutine, y=3))],
    "AsyncQueue.amap": [lambda m: in_loop(lambda: m.async_queue.amap(coroutine, [1], y=3))],
    "AsyncQueue.run": [lambda m: in_loop(lambda: m.async_queue.run("soon"))],
    "AsyncQueue.join": [lambda m: in_loop(lambda: m.async_queue.join("soon"))],
    "AsyncResult": [lambda m: AsyncResult(3)],
    "AsyncResult.get": [lambda m: in_loop(lambda: AsyncResult("a", m.backend).get("soon"))],
    "Backend.flush": [lambda m: m.backend.flush("soon")],
    "Backend.serve": [lambda m: m.backend.serve(3)],
    "Backend.set_state": [lambda m: in_loop(lambda: m.backend.set_state("a", "none"))],
    "Backend.store_result": [lambda m: in_loop(lambda: m.backend.store_result("a", 3))],
    "BackgroundAsyncWorker": [lambda m: BackgroundAsyncWorker(intervall=1)],
    "BackgroundEventWorker": [lambda m: BackgroundEventWorker(intervall=1)],
    "BackgroundEventWorker.join": [lambda m: m.worker.join("soon")],
    "BackgroundIntervalWorker": [lambda m: BackgroundIntervalWorker(intervall=1)],
    "BackgroundQueueWorker": [lambda m: BackgroundQueueWorker(q=3)],
    "BackgroundQueueWorker.join": [lambda m: BackgroundQueueWorker().join("soon")],
    "BackgroundWorker": [lambda m: BackgroundWorker(interval=1)],
    "BackgroundWorker.join": [lambda m: BackgroundWorker().join("soon")],
    "BackgroundWorker.restart": [lambda m: m.worker.restart(wait="soon")],
    "BackgroundWorker.set_name": [lambda m: m.worker.set_name(3)],
    "BackgroundWorker.start": [
        lambda m: m.worker.start(1, 2, 3), lambda m: m.worker.start(_interval="soon"),
        lambda m: background_worker(function).start(_interval=1)],
    "BackgroundWorker.stop": [lambda m: m.worker.stop(wait="soon")],
    "BackgroundWorker.wait_until_stop": [lambda m: m.worker.wait_until_stop("soon")],
    "BoundTask": [lambda m: unknown_lane(m)(1)],
    "BoundTask.map": [
        lambda m: m.tasks.map(3), lambda m: m.tasks.map([1], buffersize=0),
        lambda m: m.tasks.map([1], progress=3), lambda m: unknown_lane(m).map([1]),
        lambda m: next(unknown_lane(m).map([1], buffersize=2))],
    "BoundTask.options": [lambda m: m.tasks.options(prioritty=1),
                          lambda m: m.tasks.options(timeout=-1)],
    "BoundTask.starmap": [lambda m: m.tasks.starmap(3)],
    "Checkpoint": [lambda m: Checkpoint(3)],
    "Checkpoint.clear": [lambda m: Checkpoint().clear(3)],
    "Checkpoint.count": [lambda m: Checkpoint().count(3)],
    "FunctionCollection": [lambda m: FunctionCollection(on_eror=3), lambda m: FunctionCollection(3),
                           lambda m: FunctionCollection()(3),
                           lambda m: FunctionCollection()(priority="high")],
    "FunctionCollection.append": [lambda m: FunctionCollection().append(coroutine)],
    "FunctionCollection.remove": [lambda m: FunctionCollection().remove(function)],
    "Lane": [lambda m: Lane(limit=-1), lambda m: Lane(3)],
    "Lane.configure": [lambda m: Lane().configure(limits=1)],
    "LocalProxy.set": [lambda m: g.set("get", 3)],
    "Locker": [lambda m: Locker(timeout="soon"), lambda m: Locker()(3),
               lambda m: setattr(Locker(), "timeout", "soon")],
    "MemoryBackend": [lambda m: MemoryBackend(ttl="soon")],
    "ProcessExecutor": [lambda m: ProcessExecutor(0), lambda m: ProcessExecutor(1, mp_context=3)],
    "ProcessQueue": [lambda m: ProcessQueue(fail_policy="fail_frist")],
    "ProcessPoolView.apply": [lambda m: m.processes.apply(3)],
    "ProcessPoolView.apply_async": [lambda m: m.processes.apply_async(3)],
    "ProcessPoolView.map": [lambda m: m.processes.map(3, [1])],
    "ProcessPoolView.map_async": [lambda m: m.processes.map_async(3, [1])],
    "ProcessPoolView.starmap": [lambda m: m.processes.starmap(3, [(1,)])],
    "ProcessPoolView.starmap_async": [lambda m: m.processes.starmap_async(3, [(1,)])],
    "QueueTask": [lambda m: m.bound(1, name="bob"), lambda m: m.bound(1, priority="high")],
    "QueueTask.asubmit": [lambda m: m.bound.asubmit(1, priority="high")],
    "QueueTask.group": [lambda m: m.bound.group(3)],
    "QueueTask.map": [lambda m: m.bound.map(3), lambda m: m.bound.map([1], retris=1)],
    "QueueTask.options": [lambda m: m.bound.options(retris=1)],
    "SQLiteBackend": [lambda m: SQLiteBackend("results.db", ttl="soon")],
    "SyncResult": [lambda m: SyncResult(3)],
    "SyncResult.get": [lambda m: SyncResult("a", m.backend).get("soon"),
                       lambda m: SyncResult("a", m.backend).get(poll_interval=0)],
    "SyncTaskGroup.as_completed": [lambda m: m.group.as_completed("soon")],
    "SyncTaskGroup.values": [lambda m: m.group.values("soon")],
    "SyncTaskGroup.wait": [lambda m: m.group.wait("soon")],
    "SyncTaskHandle": [lambda m: m.handle + 1],
    "SyncTaskHandle.add_done_callback": [lambda m: m.handle.add_done_callback(3)],
    "SyncTaskHandle.wait": [lambda m: m.handle.wait("soon")],
    "Task": [lambda m: m.task + 1],
    "Task.add_done_callback": [lambda m: m.task.add_done_callback(3)],
    "Task.exception": [lambda m: m.task.exception("soon")],
    "Task.retry": [lambda m: m.task.retry("soon")],
    "Task.value": [lambda m: m.task.value("soon")],
    "Task.wait": [lambda m: m.task.wait("soon")],
    "TaskCollection": [lambda m: TaskCollection(supervisor=3), lambda m: TaskCollection(poll=3)],
    "TaskOptions": [lambda m: TaskOptions(prio=2), lambda m: TaskOptions(priority="high")],
    "TaskOptions.replace": [lambda m: TaskOptions().replace(priority="high")],
    "TaskSupervisor": [lambda m: TaskSupervisor(pool_size=-1),
                       lambda m: setattr(m.supervisor, "mp_pool", 3),
                       lambda m: setattr(m.supervisor, "default_aloop", "none")],
    "TaskSupervisor.create_aloop": [lambda m: m.supervisor.create_aloop(3)],
    "TaskSupervisor.create_async_job": [lambda m: m.supervisor.create_async_job("none")],
    "TaskSupervisor.create_async_job_scheduler": [
        lambda m: m.supervisor.create_async_job_scheduler("more", aloop="none")],
    "TaskSupervisor.create_mp_pool": [lambda m: m.supervisor.create_mp_pool(processes="two"),
                                      lambda m: m.supervisor.create_mp_pool(context=3)],
    "TaskSupervisor.get_task": [lambda m: m.supervisor.get_task(3)],
    "TaskSupervisor.lane": [lambda m: m.supervisor.lane("db", limit=-1),
                            lambda m: m.supervisor.lane("db", limits=1),
                            lambda m: m.supervisor.lane(3)],
    "TaskSupervisor.mark_task_completed": [lambda m: m.supervisor.mark_task_completed(3)],
    "TaskSupervisor.mark_task_started": [lambda m: m.supervisor.mark_task_started(3)],
    "TaskSupervisor.put_task": [
        lambda m: m.supervisor.put_task(3), lambda m: m.supervisor.put_task(abs, 3),
        lambda m: m.supervisor.put_task(abs, (1,), priority="high"),
        lambda m: m.supervisor.put_task(abs, (1,), tt="thread")],
    "TaskSupervisor.register_scheduler": [lambda m: m.supervisor.register_scheduler(3)],
    "TaskSupervisor.register_sync_scheduler": [lambda m: m.supervisor.register_sync_scheduler(3)],
    "TaskSupervisor.set_default_aloop": [lambda m: m.supervisor.set_default_aloop("none")],
    "TaskSupervisor.set_default_async_job_scheduler": [
        lambda m: m.supervisor.set_default_async_job_scheduler("none")],
    "TaskSupervisor.set_mp_pool": [lambda m: m.supervisor.set_mp_pool(pool_size=-1)],
    "TaskSupervisor.set_result_backend": [lambda m: m.supervisor.set_result_backend(3)],
    "TaskSupervisor.set_thread_pool": [lambda m: m.supervisor.set_thread_pool(pool_size=-1),
                                       lambda m: m.supervisor.set_thread_pool(on_full="wait")],
    "TaskSupervisor.spawn_thread": [lambda m: m.supervisor.spawn_thread(3)],
    "TaskSupervisor.stop": [lambda m: m.supervisor.stop(wait="soon")],
    "TaskSupervisor.stop_aloop": [lambda m: m.supervisor.stop_aloop("own", wait="soon")],
    "ThreadExecutor": [lambda m: ThreadExecutor(0)],
    "ThreadExecutor.map": [lambda m: m.executor.map(abs, [1], timeout="soon"),
                           lambda m: m.executor.map(3, [1])],
    "ThreadExecutor.submit": [lambda m: m.executor.submit(3),
                              lambda m: m.executor.submit(generator)],
    "ThreadPoolView.map": [lambda m: m.supervisor.thread_pool.map(3, [1])],
    "ThreadPoolView.submit": [lambda m: m.supervisor.thread_pool.submit(3)],
    "ThreadQueue": [lambda m: ThreadQueue(worker=2), lambda m: ThreadQueue(workers=0)],
    "ThreadQueue.group": [
        lambda m: m.queue.group(3), lambda m: m.queue.group(function, [1], retris=1),
        lambda m: m.queue.group([3]), lambda m: m.queue.group(function, [1], group_id=[])],
    "ThreadQueue.join": [lambda m: m.queue.join("soon")],
    "ThreadQueue.map": [
        lambda m: m.queue.map(function, [1], priorty=2), lambda m: m.queue.map(function, 3),
        lambda m: m.queue.map(generator, [1]),
        lambda m: m.queue.map(function, [1], checkpoint="run.db")],
    "ThreadQueue.run": [lambda m: m.queue.run("soon"), lambda m: m.queue.run(fail_policy="none"),
                        lambda m: m.queue.run(progress=3)],
    "ThreadQueue.submit": [
        lambda m: m.queue.submit(function, 1, y=2), lambda m: m.queue.submit(coroutine),
        lambda m: m.queue.submit(function, 1, name="bob"),
        lambda m: m.queue.submit(function, opts=3)],
    "ThreadQueue.task": [lambda m: m.queue.task(retris=1), lambda m: m.queue.task(coroutine),
                         lambda m: m.queue.task(priority=1)(coroutine)],
    "amap": [lambda m: in_loop(lambda: amap(coroutine, [1], retris=1))],
    "as_completed": [lambda m: as_completed([3])],
    "background_task": [
        lambda m: background_task(retrys=2), lambda m: background_task(function, retrys=2),
        lambda m: background_task(function, priority="high"),
        lambda m: background_task(function, backoff="expo"),
        lambda m: background_task(function, tt="thread"),
        lambda m: background_task(function, lane=3), lambda m: background_task(generator),
        lambda m: background_task(priority=1)(generator), lambda m: background_task(3),
        lambda m: background_task(function, supervisor=3)],
    "background_worker": [
        lambda m: background_worker(intervall=1),
        lambda m: background_worker(function, intervall=1),
        lambda m: background_worker(function, interval=1, q=True),
        lambda m: background_worker(function, interval="soon"),
        lambda m: background_worker(generator)],
    "co_as_completed": [lambda m: in_loop(lambda: first_of(co_as_completed(3)))],
    "co_mp_apply": [
        lambda m: in_loop(lambda: co_mp_apply(pow, 2)), lambda m: in_loop(lambda: co_mp_apply(3)),
        lambda m: in_loop(lambda: co_mp_apply(pow, (2,), priority="high"))],
    "co_wait_completed": [lambda m: in_loop(lambda: co_wait_completed(3))],
    "iter_completed": [lambda m: iter_completed(3)],
    "pmap": [lambda m: pmap(function, [1], retris=2)],
    "run": [lambda m: run(3)],
    "service.Address": [lambda m: service.Address("lab")],
    "service.Client": [lambda m: service.Client(3)],
    "service.Client.execute": [lambda m: in_loop(lambda: service.Client(m.service).execute(3))],
    "service.Client.request": [lambda m: in_loop(lambda: service.Client(m.service).request(3))],
    "service.Service": [lambda m: service.Service(3)],
    "service.Service.handler": [
        lambda m: m.service.handler(3), lambda m: m.service.handler(Calibrate, retris=1),
        lambda m: m.service.handler(Calibrate)(3)],
    "service.Service.serve": [lambda m: m.service.serve(3),
                              lambda m: m.service.serve("./lab.sock", max_client=1)],
    "service.SyncClient": [lambda m: service.SyncClient(3)],
    "service.SyncClient.execute": [
        lambda m: m.client.execute(3), lambda m: m.client.execute(Calibrate(3), timeout="soon"),
        lambda m: m.client.execute(Calibrate(3), priority="high")],
    "service.SyncClient.request": [lambda m: m.client.request(3),
                                   lambda m: m.client.request(Calibrate(3), timeout="soon")],
    "service.SyncClient.send": [lambda m: m.client.send("Calibrate", {}, timeout="soon")],
    "service.Task.from_payload": [lambda m: Calibrate.from_payload({"qubit": "two"})],
    "tmap": [lambda m: tmap(function, [1], worker=2)],
    "wait_completed": [lambda m: wait_completed(None), lambda m: wait_completed([], "soon")],
}

#: Public names that refuse no argument: any is right, or has no effect, or an application overrides
#: the method.
REFUSE_NOTHING = {
    "AsyncJob.cancel", "Backend", "Backend.attach", "Backend.detach", "Backend.delete",
    "Backend.delete_result", "Backend.find", "Backend.get_result", "Backend.read", "Backend.write",
    "BackgroundEventWorker.trigger", "BackgroundEventWorker.trigger_threadsafe",
    "BackgroundQueueWorker.after_queue_get", "BackgroundQueueWorker.put",
    "BackgroundQueueWorker.put_threadsafe", "BackgroundWorker.process_result",
    "BackgroundWorker.run", "Checkpoint.page", "LocalProxy.clear", "LocalProxy.get",
    "LocalProxy.has", "ProcessPoolView.imap", "ProcessPoolView.imap_unordered",
    "ThreadPoolView.shutdown", "MemoryBackend.delete", "MemoryBackend.read", "MemoryBackend.write",
    "Info.display", "RunSummary", "RunSummary.display", "Stats.display",
    "RunSummary.raise_for_errors",
    "SQLiteBackend.delete",
    "SQLiteBackend.read", "SQLiteBackend.write", "Task.report_progress",
    "TaskOptions.retry_pause", "TaskOptions.wants_retry", "TaskResult",
    "TaskSupervisor.cancel_async_job", "TaskSupervisor.dump", "TaskSupervisor.dump_on_signal",
    "TaskSupervisor.get_aloop", "TaskSupervisor.get_info", "TaskSupervisor.get_tasks",
    "TaskSupervisor.start", "TaskSupervisor.start_aloop",
    "TaskSupervisor.unregister_scheduler", "TaskSupervisor.unregister_sync_scheduler",
    "ThreadExecutor.shutdown", "ThreadQueue.shutdown", "AsyncQueue.shutdown",
    "report_progress", "set_debug", "shared", "service.Server", "service.SyncTaskFuture.result",
    "service.Server.close", "service.Server.stop", "service.SyncTaskFuture", "service.TaskFuture",
    "service.TaskResultError", "service.TaskResultOk", "TaskHandle.add_done_callback",
    "TaskGroup.as_completed",
}

#: Public methods for other parts of the package, which the reference leaves out.
INTERNAL = {"TaskSupervisor.make_spec", "TaskSupervisor.pool_for", *(
    f"Lane.{name}" for name in dir(Lane) if name != "configure")}

#: Classes that other functions make.
MADE = {"ALoop", "AsyncJobScheduler", "Info", "PoolStats", "ProcessPoolView", "Stats", "StopReport",
        "SyncTaskGroup", "SyncTaskHandle", "TaskGroup", "TaskHandle", "ThreadPoolView",
        "WorkerStats"}


def public_functions():
    """Yield name and function of all public functions and methods that take arguments."""
    for module, prefix in ((atasker_like, ""), (service, "service.")):
        for name in module.__all__:
            thing = getattr(module, name)
            if isinstance(thing, FunctionType):
                if inspect.signature(thing).parameters:
                    yield prefix + name, thing
            elif isinstance(thing, type) and not issubclass(thing, (BaseException, int, tuple)):
                yield from methods_of(thing, prefix + name)


def methods_of(kind, name):
    for attribute in dir(kind):
        function = inspect.getattr_static(kind, attribute)
        function = getattr(function, "__func__", function)
        if not isinstance(function, FunctionType) or function.__module__.partition(
                ".")[0] != "atasker_like":
            continue
        if len(inspect.signature(function).parameters) < 2 or f"{name}.{attribute}" in INTERNAL:
            continue
        if attribute == "__init__" and name not in MADE:
            yield name, function
        elif not attribute.startswith("_"):
            yield f"{name}.{attribute}", function


def test_each_public_function_has_a_call_with_a_refused_argument():
    functions = dict(public_functions())
    covered = {functions[name] for name in (*CALLS, *REFUSE_NOTHING) if name in functions}
    assert sorted(name for name, function in functions.items() if function not in covered) == []


def traceback_of(call, *errors):
    with pytest.raises(errors or (InvalidTypeError, InvalidArgumentError,
                                  service.InvalidFieldError)) as raised:
        call()
    return [str(entry.path) for entry in raised.traceback]


#: Before Python 3.11, the frame of the public function stays.
BELOW = 0 if sys.version_info >= (3, 11) else 1


def assert_last_frame_is_the_call(frames):
    below = frames[len(frames) - BELOW:]
    assert frames[-1 - BELOW] == __file__, frames
    assert all("atasker_like" in path for path in below), frames


@pytest.mark.parametrize("name, call", [
    pytest.param(name, call, id=f"{name}-{number}")
    for name, calls in CALLS.items() for number, call in enumerate(calls)])
def test_last_frame_of_a_refused_argument_is_the_call(made, name, call):
    assert_last_frame_is_the_call(traceback_of(lambda: call(made)))


def test_last_frame_of_other_errors_is_the_call(made):
    queue = ThreadQueue(supervisor=made.supervisor)
    handle = queue.submit(abs, -1)
    with pytest.raises(WaitTimeoutError) as raised:
        handle.wait(0)
    assert_last_frame_is_the_call([str(entry.path) for entry in raised.traceback])
    queue.shutdown()
    assert_last_frame_is_the_call(traceback_of(lambda: queue.submit(abs, -1), ClosedError))


def failing(x=1):
    raise LookupError(x)


#: Calls that raise an error of this package about the outcome of a task.
OUTCOMES = {
    "Task.value of a cancelled task": lambda m: m.cancelled.value(),
    "await of a cancelled task": lambda m: in_loop(lambda: m.cancelled),
    "TaskResult.unwrap of a cancelled task": lambda m: m.cancelled.wait().unwrap(),
    "SyncTaskHandle.value before the run": lambda m: m.handle.value(),
    "SyncTaskHandle.result before the run": lambda m: m.handle.result(),
    "SyncTaskHandle.exception before the run": lambda m: m.handle.exception(),
    "SyncTaskGroup.wait with a timeout": lambda m: m.group.wait(0),
    "wait_completed with a timeout": lambda m: wait_completed([m.waiting], 0),
    "wait_completed, strict": lambda m: wait_completed([m.failed], strict=True),
    "co_wait_completed with a timeout":
        lambda m: in_loop(lambda: co_wait_completed([m.waiting], 0)),
    "co_wait_completed, strict":
        lambda m: in_loop(lambda: co_wait_completed([m.failed], strict=True)),
    "as_completed": lambda m: list(as_completed([m.waiting], 0)),
    "as_completed in a loop": lambda m: in_loop(lambda: first_of(as_completed([m.waiting], 0))),
    "co_as_completed": lambda m: in_loop(lambda: first_of(co_as_completed([m.waiting], 0))),
    "RunSummary.raise_for_errors": lambda m: m.summary.raise_for_errors(),
}


@pytest.fixture
def ended(supervisor):
    """Tasks that have failed, were cancelled, or wait."""
    queue = ThreadQueue(supervisor=supervisor)
    queue.submit(failing)
    failed = background_task(failing, supervisor=supervisor)()
    failed.exception()
    cancelled, waiting = (supervisor.put_task(function, delay=1000) for _ in range(2))
    cancelled.cancel()
    summary = queue.run()
    assert len(summary.errors) == 1
    unstarted = ThreadQueue(supervisor=supervisor)
    yield SimpleNamespace(failed=failed, cancelled=cancelled, waiting=waiting, summary=summary,
                          handle=unstarted.submit(function),
                          group=unstarted.group(function, [1]))
    unstarted.shutdown(force=True)


@pytest.mark.parametrize("name", OUTCOMES)
def test_last_frame_of_an_error_about_an_outcome_is_the_call(ended, name):
    frames = traceback_of(lambda: OUTCOMES[name](ended), SupervisorError)
    assert_last_frame_is_the_call(frames)


#: Calls that need a file in a folder that does not exist.
WITHOUT_FOLDER = {
    "Backend.serve": lambda m, path: m.backend.serve(path),
    "service.Service.serve": lambda m, path: m.service.serve(path),
    "SQLiteBackend.open": lambda m, path: SQLiteBackend(path).open(),
    "Backend.find": lambda m, path: SQLiteBackend(path).find("a"),
    "Backend.ids": lambda m, path: SQLiteBackend(path).ids(),
    "Backend.connect": lambda m, path: in_loop(SQLiteBackend(path).connect),
    "Backend.get_ids": lambda m, path: in_loop(SQLiteBackend(path).get_ids),
    "Backend.get_result": lambda m, path: in_loop(lambda: SQLiteBackend(path).get_result("a")),
    "SyncResult.cancel": lambda m, path: SyncResult("a", SQLiteBackend(path)).cancel(),
    "SyncResult.info": lambda m, path: SyncResult("a", SQLiteBackend(path)).info(),
    "SyncResult.progress": lambda m, path: SyncResult("a", SQLiteBackend(path)).progress(),
    "SyncResult.ready": lambda m, path: SyncResult("a", SQLiteBackend(path)).ready(),
    "SyncResult.state": lambda m, path: SyncResult("a", SQLiteBackend(path)).state(),
    "AsyncResult.info": lambda m, path: in_loop(AsyncResult("a", SQLiteBackend(path)).info),
    "AsyncResult.state": lambda m, path: in_loop(AsyncResult("a", SQLiteBackend(path)).state),
}


@pytest.mark.parametrize("name", WITHOUT_FOLDER)
def test_last_frame_of_an_error_about_a_file_is_the_call(made, tmp_path, name):
    frames = traceback_of(lambda: WITHOUT_FOLDER[name](made, tmp_path / "none" / "file"),
                          SupervisorError)
    assert_last_frame_is_the_call(frames)


def test_error_of_the_application_is_raised_below_one_frame_of_the_package(ended):
    frames = traceback_of(lambda: ended.failed.value(), LookupError)
    assert frames[-1] == __file__ and frames[-3 - BELOW] == __file__


def test_cause_without_code_of_the_application_is_shown_without_frames(tmp_path):
    with pytest.raises(CheckpointError) as raised:
        Checkpoint(tmp_path / "none" / "run.db")
    cause = raised.value.__cause__
    assert type(cause) is FileNotFoundError and cause.__traceback__ is None


@pytest.mark.parametrize("name", ["submit", "map", "shutdown"])
def test_last_frame_of_an_absent_name_is_the_line_that_reads_it(made, name):
    assert_last_frame_is_the_call(traceback_of(lambda: getattr(made.supervisor, name),
                                               AttributeError))


def test_refused_argument_after_set_debug_shows_all_frames():
    logger = logging.getLogger("atasker_like")
    before = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        assert len(traceback_of(lambda: TaskOptions(priority="high"))) > 3 + BELOW
    finally:
        logger.setLevel(before)


def test_refused_argument_shows_frames_of_the_application():
    class Own(BackgroundWorker):
        def __init__(self):
            super().__init__(priority="high")

    assert_last_frame_is_the_call(traceback_of(Own))


def test_error_of_the_application_shows_its_frames_below_the_public_function(supervisor):
    def fails():
        raise InvalidTypeError("of the application")

    collection = FunctionCollection()
    collection(fails)
    with pytest.raises(InvalidTypeError) as raised:
        collection.run()
    assert raised.traceback[-1].name == "fails"


def test_signature_of_a_public_function_is_its_own():
    assert list(inspect.signature(ThreadQueue).parameters)[:2] == ["workers", "size"]
    assert list(inspect.signature(background_task).parameters) == ["f", "options"]
    assert background_task.__name__ == "background_task"
    assert background_task(function, tt=TT_MP).__wrapped__ is function


def test_option_of_another_kind_of_worker_names_that_kind():
    with pytest.raises(InvalidTypeError) as raised:
        BackgroundWorker(interval=1)
    assert str(raised.value) == ("BackgroundWorker has no option 'interval'; "
                                 "BackgroundIntervalWorker has it")


def test_setting_of_a_lane_that_does_not_exist_is_answered_with_the_nearest(supervisor):
    with pytest.raises(InvalidTypeError) as raised:
        supervisor.lane("db", limits=2)
    assert str(raised.value) == "lane 'db' has no option 'limits'; did you mean 'limit'?"
    assert supervisor.get_lanes() == {}
