import concurrent.futures
import pickle
import queue
from concurrent.futures.process import BrokenProcessPool

import pytest

import atasker_like
from atasker_like import errors
from atasker_like.service import TaskResultError

EXAMPLES = {
    "SupervisorError": (errors.SupervisorError("m"), Exception),
    "SupervisorStoppedError": (errors.SupervisorStoppedError("m"), RuntimeError),
    "SupervisorBusyError": (errors.SupervisorBusyError("m"), RuntimeError),
    "InvalidArgumentError": (errors.InvalidArgumentError("m"), ValueError),
    "InvalidTypeError": (errors.InvalidTypeError("m"), TypeError),
    "TaskNotFoundError": (errors.TaskNotFoundError("m"), LookupError),
    "TaskTimeoutError": (errors.TaskTimeoutError("m"), TimeoutError),
    "WaitTimeoutError": (errors.WaitTimeoutError("m"), TimeoutError),
    "WaitDeadlockError": (errors.WaitDeadlockError("m"), RuntimeError),
    "TaskCancelledError": (errors.TaskCancelledError("m"), concurrent.futures.CancelledError),
    "ProcessDiedError": (errors.ProcessDiedError("m", 5, -9), concurrent.futures.BrokenExecutor),
    "PoolBrokenError": (errors.PoolBrokenError("m"), concurrent.futures.BrokenExecutor),
    "TaskRetryError": (errors.TaskRetryError("m"), RuntimeError),
    "RemoteError": (errors.RemoteError("a.B", "m", "trace"), RuntimeError),
    "RemoteTraceback": (errors.RemoteTraceback("trace"), Exception),
    "TaskPicklingError": (errors.TaskPicklingError("m"), pickle.PicklingError),
    "ExecutionError": (errors.ExecutionError("m", [1, 2]), RuntimeError),
    "InvalidFieldError": (errors.InvalidFieldError("m", "a.b"), ValueError),
    "TaskRefusedError": (errors.TaskRefusedError("m", "busy"), ValueError),
    "TaskExecutionError":
        (errors.TaskExecutionError(TaskResultError("1", "ValueError", "m", "trace")), RuntimeError),
    "ServiceConnectionError": (errors.ServiceConnectionError("m"), ConnectionError),
    "QueueFullError": (errors.QueueFullError("m"), queue.Full),
    "ClosedError": (errors.ClosedError("m"), RuntimeError),
    "QueueStateError": (errors.QueueStateError("m"), RuntimeError),
    "TaskPendingError": (errors.TaskPendingError("m"), RuntimeError),
    "CheckpointError": (errors.CheckpointError("m", "a file"), OSError),
    "BackendNotConfiguredError": (errors.BackendNotConfiguredError("m"), RuntimeError),
    "ResultBackendError": (errors.ResultBackendError("m"), OSError),
    "ResultNotStoredError": (errors.ResultNotStoredError("m"), ValueError),
}


def test_every_error_is_looked_at_here():
    assert set(EXAMPLES) == set(errors.__all__)


@pytest.mark.parametrize("name", EXAMPLES)
def test_one_tree_and_the_type_that_a_caller_would_catch(name):
    error, builtin = EXAMPLES[name]
    assert type(error) is getattr(atasker_like, name)
    assert type(error).__module__ == "atasker_like.errors"
    assert isinstance(error, errors.SupervisorError)
    assert isinstance(error, builtin)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", EXAMPLES)
def test_pickling_round_trip(name, protocol):
    error, _ = EXAMPLES[name]
    back = pickle.loads(pickle.dumps(error, protocol))
    assert type(back) is type(error)
    assert (str(back), back.args) == (str(error), error.args)
    assert back.__dict__ == error.__dict__


@pytest.mark.parametrize("exitcode, signal",
                         [(0, None), (3, None), (None, None), (-9, 9), (-15, 15)])
def test_process_died_error_knows_the_signal(exitcode, signal):
    error = errors.ProcessDiedError("m", 5, exitcode)
    assert (error.pid, error.exitcode, error.signal, str(error)) == (5, exitcode, signal, "m")


def test_remote_error_has_its_parts_and_their_text():
    error = errors.RemoteError("a.B", "m", "trace")
    assert ((error.type_name, error.message, error.traceback, str(error))
            == ("a.B", "m", "trace", "a.B: m"))


def test_execution_error_copies_the_results():
    results = [1, 2]
    error = errors.ExecutionError("m", results)
    results.clear()
    assert error.results == (1, 2)


def test_a_timeout_of_a_task_is_not_the_end_of_a_callers_patience():
    assert not issubclass(errors.TaskTimeoutError, errors.WaitTimeoutError)
    assert not issubclass(errors.WaitTimeoutError, errors.TaskTimeoutError)


def test_the_death_of_a_process_is_caught_as_concurrent_futures_would():
    assert issubclass(BrokenProcessPool, concurrent.futures.BrokenExecutor)
    assert issubclass(errors.ProcessDiedError, concurrent.futures.BrokenExecutor)
