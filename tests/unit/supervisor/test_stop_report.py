"""What stop() says about what became of the tasks."""
import threading

import pytest

from atasker_like import TT_MP, StopReport, background_task, current_task
from atasker_like._threads import PackageThread
from atasker_like.supervisor import shutdown
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.threads import join, started
from tests.unit import in_processes


def numbers(report):
    return report.finished, report.cancelled, report.abandoned, report.killed, report.complete


def test_nothing_to_do(supervisor):
    supervisor.start()
    report = supervisor.stop()
    assert isinstance(report, StopReport)
    assert numbers(report) == (0, 0, 0, 0, True)
    assert numbers(supervisor.stop()) == (0, 0, 0, 0, True)


def test_finished_and_cancelled(make_supervisor):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    began, go = threading.Event(), threading.Event()

    def run():
        began.set()
        assert go.wait(PATIENCE)

    call = background_task(run, supervisor=supervisor)
    # before the stop: does not count
    background_task(len, supervisor=supervisor)("abc").value(PATIENCE)
    tasks = [call(), call(), call()]
    background_task(run, supervisor=supervisor, delay=1000)()
    assert began.wait(PATIENCE)
    told = []
    stop = threading.Thread(target=lambda: told.append(supervisor.stop()))
    stop.start()
    while supervisor.is_active:
        pass
    go.set()
    stop.join(PATIENCE)
    assert numbers(told[0]) == (3, 1, 0, 0, True)
    assert all(task.state == "succeeded" for task in tasks)


def test_report_counts_abandoned_threads(make_supervisor):
    supervisor = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    began, go = threading.Event(), threading.Event()

    def run():
        began.set()
        assert go.wait(PATIENCE)

    call = background_task(run, supervisor=supervisor)
    tasks = [call(), call()]
    assert began.wait(PATIENCE)
    report = supervisor.stop(wait=0)
    assert numbers(report) == (0, 2, 1, 0, True)
    assert [task.state for task in tasks] == ["cancelled"] * 2
    go.set()


def test_report_counts_killed_processes(make_supervisor, tmp_path):
    supervisor = make_supervisor()
    supervisor.set_mp_pool(pool_size=1)
    path, never, rounds = tmp_path / "began", threading.Event(), 0
    supervisor.put_task(in_processes.enter_and_wait, (str(path),), tt=TT_MP)
    while not path.exists():
        never.wait(0.01)
        rounds += 1
        assert rounds < 100 * PATIENCE
    report = supervisor.stop(wait=0)
    assert numbers(report) == (0, 1, 0, 1, True)


@pytest.mark.parametrize("wait", [False])
def test_a_stop_that_goes_on_behind(make_supervisor, wait):
    supervisor = make_supervisor(pool_size=1)
    began, go = threading.Event(), threading.Event()

    def run():
        began.set()
        assert go.wait(PATIENCE)

    background_task(run, supervisor=supervisor)()
    assert began.wait(PATIENCE)
    report = supervisor.stop(wait=wait)
    assert not report.complete
    go.set()
    supervisor.block()
    assert numbers(supervisor.stop()) == (1, 0, 0, 0, True)


def test_thread_of_an_earlier_stop_that_is_late_leaves_the_next_stop_alone(supervisor,
                                                                           monkeypatch):
    holds, threads = [Hold(), Hold(), Hold()], []

    class Late(PackageThread):
        def run(self):
            holds[threads.index(self)]()
            super().run()

    def make(*args):
        threads.append(Late(*args))
        return threads[-1]

    monkeypatch.setattr(shutdown, "PackageThread", make)
    supervisor.start()
    stops = [started(supervisor.stop)]
    holds[0].reached()
    stops.append(started(lambda: supervisor.stop(cancel_tasks=True)))
    holds[1].reached()
    holds[0].go()
    for stop in stops:
        assert join(stop).complete
    supervisor.start()
    begun, go = threading.Event(), threading.Event()
    task = supervisor.put_task(lambda: (begun.set(), go.wait(PATIENCE),
                                        current_task().check_cancelled()))
    assert begun.wait(PATIENCE)
    stop = started(supervisor.stop)
    holds[2].reached()
    holds[1].go()
    threads[1].join(PATIENCE)
    is_over = not threads[1].is_alive()
    go.set()
    holds[2].go()
    assert join(stop).complete and is_over and task.state == "succeeded"
