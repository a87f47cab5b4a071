"""Law 9. A pool process's death costs the task that it was running, and no other. Its siblings,
queued and already sent, run; the process is replaced; the error names pid, exit code or signal, and
the task."""
import os
import signal

import pytest

from atasker_like import TT_MP, ProcessDiedError, background_task
from tests.support import PATIENCE
from tests.support.internals import check_oracle
from tests.support.internals.engine import spec_of
from tests.support.internals.process_pool import (idle_processes_of, io_thread_of, refill_idle,
                                                  thread_of_io)
from tests.support.scripts import gone, lines, stop_process
from tests.support.threads import wait_for

from ..support.internals import manager
from . import functions

#: One of the start methods forks this process, which has threads: that is what is tried.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")

METHODS = ["fork", "forkserver", pytest.param("spawn", marks=pytest.mark.slow)]


class Scene:
    """A pool of one process, with functions that are sent ahead, and a file that they note what
    they do in."""

    def __init__(self, make, tmp_path, method):
        self.supervisor = make(processes=1, start_method=method)
        self.pool = manager(self.supervisor).processes
        self.path, self.fifo = str(tmp_path / "notes"), str(tmp_path / "fifo")
        os.mkfifo(self.fifo)
        self.note = background_task(functions.note, tt=TT_MP, supervisor=self.supervisor)
        self.stay = background_task(functions.note_and_stay, tt=TT_MP, supervisor=self.supervisor)
        self.wait = background_task(functions.note_and_wait, tt=TT_MP, supervisor=self.supervisor)
        self.tasks = [self.note(self.path, "warm")]
        self.tasks[0].wait(PATIENCE)
        for task in (self.note, self.stay, self.wait):
            spec_of(task).expected_runtime = 1e-6
        (self.pid,) = self.pool.pids()

    def batch(self, *calls):
        """Send tasks in one go; they are all in flight."""
        tasks = []
        with self.pool.lock:  # the process takes nothing from the queue by itself meanwhile
            idle = list(idle_processes_of(self.pool))
            idle_processes_of(self.pool).clear()
        for bound, *args in calls:
            tasks.append(bound(self.path, *args))
        with self.pool.lock:
            idle_processes_of(self.pool).extend(idle)
            refill_idle(self.pool)
            assert len(idle[0].inflight) == len(tasks), "not all are sent ahead"
        self.tasks += tasks
        return tasks

    def noted(self, *words):
        wait_for(lambda: set(words) <= set(lines(self.path)), "these run: " + ", ".join(words))

    def check(self, dead):
        """Whatever ran ran once, the process is another one, and the accounts are right."""
        assert len(lines(self.path)) == len(set(lines(self.path)))
        wait_for(lambda: gone(dead), "the end of the process")
        new = background_task(functions.pid, tt=TT_MP, supervisor=self.supervisor)()
        assert new.value(PATIENCE) != dead
        self.tasks.append(new)
        check_oracle(self.supervisor, self.tasks)


@pytest.fixture
def scene(make, tmp_path):
    return lambda method="fork": Scene(make, tmp_path, method)


@pytest.mark.parametrize("method", METHODS)
def test_a_kill_costs_the_running_task_and_its_siblings_run(scene, method):
    scene = scene(method)
    before, victim, *siblings = scene.batch((scene.note, "before"), (scene.stay, "victim"),
                                            *((scene.note, "after-%d" % number)
                                              for number in range(8)))
    scene.noted("before", "victim")
    queued = [scene.note(scene.path, "queued-%d" % number) for number in range(3)]
    scene.tasks += queued
    os.kill(scene.pid, signal.SIGKILL)
    error = victim.exception(PATIENCE)
    assert isinstance(error, ProcessDiedError)
    assert (error.pid, error.exitcode, error.signal) == (scene.pid, -9, 9)
    for said in (str(scene.pid), "SIGKILL", victim.name, victim.short_id):
        assert said in str(error)
    assert before.value(PATIENCE) == "before"
    assert ([task.value(PATIENCE) for task in siblings]
            == ["after-%d" % number for number in range(8)])
    assert ([task.value(PATIENCE) for task in queued]
            == ["queued-%d" % number for number in range(3)])
    scene.check(scene.pid)


@pytest.mark.parametrize("method", METHODS)
def test_a_process_killed_before_it_began_fails_no_task(scene, method):
    scene = scene(method)
    stop_process(scene.supervisor, scene.pid)
    tasks = scene.batch(*((scene.note, "sent-%d" % number) for number in range(8)))
    assert [task.state for task in tasks] == ["running"] + ["pending"] * 7
    os.kill(scene.pid, signal.SIGKILL)
    assert [task.value(PATIENCE) for task in tasks] == ["sent-%d" % number for number in range(8)]
    assert [task.attempts for task in tasks] == [1] * 8
    scene.check(scene.pid)


@pytest.mark.parametrize("method", METHODS)
def test_an_idle_process_that_is_killed_is_replaced_in_silence(scene, method):
    scene = scene(method)
    os.kill(scene.pid, signal.SIGKILL)
    scene.check(scene.pid)


def test_a_result_that_was_written_before_the_death_counts(scene):
    """The thread that reads results is held; the process writes two, begins a third, and dies."""
    scene = scene()
    held = scene.pool.lock.hold_before(thread_of_io(io_thread_of(scene.pool)))
    first, second, victim, sibling = scene.batch((scene.note, "first"), (scene.note, "second"),
                                                 (scene.stay, "victim"),
                                                 (scene.note, "sibling"))
    scene.noted("first", "second", "victim")
    os.kill(scene.pid, signal.SIGKILL)
    held.reached()
    held.go()
    assert ([task.value(PATIENCE) for task in (first, second, sibling)]
            == ["first", "second", "sibling"])
    assert isinstance(victim.exception(PATIENCE), ProcessDiedError)
    scene.check(scene.pid)


@pytest.mark.parametrize("way", ["cancel", "timeout"])
def test_stopping_a_task_that_has_ended_unnoticed_spares_the_one_that_runs(scene, way):
    """The process is further than the parent knows: the result of the first is unread, the second
    has begun."""
    scene = scene()
    finished = scene.note.options(timeout=1000)
    spec_of(finished).expected_runtime = 1e-6
    held = scene.pool.lock.hold_before(thread_of_io(io_thread_of(scene.pool)))
    first, second, third = scene.batch((finished, "first"), (scene.wait, "second", scene.fifo),
                                       (scene.note, "third"))
    scene.noted("second")
    held.reached()
    assert first.state == "running"
    if way == "cancel":
        first.cancel()
    else:
        scene.supervisor.clock.forward(manager(scene.supervisor).timer)
        manager(scene.supervisor).timer.stop()          # its call has been made
    held.go()
    open(scene.fifo, "w").close()
    assert [task.value(PATIENCE) for task in (first, second, third)] == ["first", "second", "third"]
    assert scene.pool.pids() == [scene.pid]
    check_oracle(scene.supervisor, scene.tasks)


@pytest.mark.parametrize("way", ["cancel", "timeout"])
def test_stopping_the_running_task_costs_its_siblings_nothing(scene, way):
    scene = scene()
    stay = scene.stay.options(timeout=1000)
    spec_of(stay).expected_runtime = 1e-6
    victim, *siblings = scene.batch((stay, "victim"),
                                    *((scene.note, "after-%d" % number) for number in range(4)))
    scene.noted("victim")
    if way == "cancel":
        assert victim.cancel()
    else:
        scene.supervisor.clock.forward(manager(scene.supervisor).timer)
    victim.wait(PATIENCE)
    assert victim.state == ("cancelled" if way == "cancel" else "failed")
    assert ([task.value(PATIENCE) for task in siblings]
            == ["after-%d" % number for number in range(4)])
    scene.check(scene.pid)


@pytest.mark.parametrize("way", ["cancel", "mark_completed"])
def test_ending_a_task_that_was_sent_takes_only_that_one_out(scene, way):
    scene = scene()
    stop_process(scene.supervisor, scene.pid)
    tasks = scene.batch(*((scene.note, "sent-%d" % number) for number in range(6)))
    assert getattr(tasks[3], way)()
    os.kill(scene.pid, signal.SIGCONT)
    for task in tasks:
        task.wait(PATIENCE)
    others = ["sent-%d" % number for number in (0, 1, 2, 4, 5)]
    assert [task.value(0) for task in tasks[:3] + tasks[4:]] == others
    assert lines(scene.path) == ["warm", *others]


def test_cancelling_the_first_of_what_was_sent_spares_the_process_that_has_not_begun_it(scene):
    scene = scene()
    stop_process(scene.supervisor, scene.pid)
    tasks = scene.batch(*((scene.note, "sent-%d" % number) for number in range(3)))
    assert tasks[0].state == "running" and tasks[0].cancel()
    os.kill(scene.pid, signal.SIGCONT)
    assert [task.value(PATIENCE) for task in tasks[1:]] == ["sent-1", "sent-2"]
    assert tasks[0].state == "cancelled"
    assert lines(scene.path) == ["warm", "sent-1", "sent-2"]
    assert scene.pool.pids() == [scene.pid]
    check_oracle(scene.supervisor, scene.tasks)


@pytest.mark.parametrize("method", METHODS)
def test_a_death_is_seen_although_a_program_that_the_task_started_lives_on(scene, method):
    scene = scene(method)
    task = background_task(functions.leave_a_reader_and_die, tt=TT_MP,
                           supervisor=scene.supervisor)(scene.fifo)
    scene.tasks.append(task)
    try:
        assert isinstance(task.exception(PATIENCE), ProcessDiedError)
        scene.check(scene.pid)
    finally:
        with open(scene.fifo, "w"):             # the program ends with its input
            pass


@pytest.mark.parametrize("size", [100, 64 << 20])
def test_a_death_in_the_middle_of_a_result_costs_one_task(scene, size):
    """The process dies when it has written the head of its result and a part of the rest."""
    scene = scene()
    tear = background_task(functions.tear_the_result, tt=TT_MP, supervisor=scene.supervisor)
    spec_of(tear).expected_runtime = 1e-6
    victim = tear(size)
    siblings = [scene.note(scene.path, "after-%d" % number) for number in range(4)]
    scene.tasks += [victim, *siblings]
    assert isinstance(victim.exception(PATIENCE), ProcessDiedError)
    assert ([task.value(PATIENCE) for task in siblings]
            == ["after-%d" % number for number in range(4)])
    scene.check(scene.pid)


@pytest.mark.slow
def test_a_task_that_kills_its_process_every_time_stops_no_other_task(scene):
    scene = scene("forkserver")
    die = background_task(functions.die, tt=TT_MP, supervisor=scene.supervisor)
    mixed = []
    for number in range(20):
        mixed += [die(), scene.note(scene.path, "good-%d" % number)]
    for number, task in enumerate(mixed):
        task.wait(PATIENCE)
        assert task.state == ("succeeded" if number % 2 else "failed")
    for task in mixed[::2]:
        assert task.exception().signal == 9
    scene.tasks += mixed
    assert len(lines(scene.path)) == 21
    check_oracle(scene.supervisor, scene.tasks)
