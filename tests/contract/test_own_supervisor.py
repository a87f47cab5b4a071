"""A process task that submits and waits: to the supervisor of its own process."""
import pytest

from atasker_like import TT_MP
from tests.contract import own_supervisor
from tests.support import PATIENCE


@pytest.fixture(params=["fork", "forkserver", "spawn"])
def outer(request, make_supervisor):
    supervisor = make_supervisor()
    supervisor.set_mp_pool(pool_size=1, start_method=request.param)
    return supervisor


@pytest.fixture
def put(outer):
    return lambda function, *args: outer.put_task(function, args, tt=TT_MP)


@pytest.mark.parametrize("way",
                         ["wait_completed", "as_completed", "task.wait", "task.value", "map"])
def test_task_waits_for_tasks_of_its_own_supervisor(put, way):
    assert put(own_supervisor.wait, way, 5).value(PATIENCE) == [0, 2, 4, 6, 8]


def test_processes_of_a_process(put):
    assert put(own_supervisor.in_processes, 4).value(PATIENCE) == [0, 1, 4, 9]


def test_what_is_left_there_is_finished_before_the_process_ends(outer, put, tmp_path):
    path = tmp_path / "notes"
    put(own_supervisor.leave, str(path), 20).value(PATIENCE)
    outer.stop()
    assert path.read_text() == "x" * 20
