"""Ids of tasks: 32 hexadecimal digits, valid as a UUID; and their short form."""
import uuid

import pytest

from atasker_like import (TT_COROUTINE, TT_MP, TT_THREAD, Checkpoint, ThreadQueue, background_task,
                          current_task, tmap)
from atasker_like._ids import make_prefix, new_id, short_id
from tests.support import PATIENCE


async def co_own_ids():
    return own_ids()


def own_ids():
    task = current_task()
    return task.id, task.short_id


@pytest.mark.parametrize("tt, kind",
                         [(TT_THREAD, "t"), (TT_COROUTINE, "c"),
                          pytest.param(TT_MP, "p", marks=pytest.mark.slow)])
def test_an_id_is_a_uuid_whose_short_form_has_kind_and_number(supervisor, tt, kind):
    call = background_task(co_own_ids if tt == TT_COROUTINE else own_ids, tt=tt,
                           supervisor=supervisor)
    tasks = [call() for _ in range(3)]
    for number, task in enumerate(tasks, 1):
        assert len(task.id) == 32 and uuid.UUID(hex=task.id).hex == task.id
        assert task.short_id == short_id(task.id) == f"{kind}-{number}"
        assert task.value(PATIENCE) == (task.id, task.short_id)
        assert task.short_id in repr(task) and task.wait().short_id == task.short_id


def test_ids_of_two_supervisors_differ(make_supervisor):
    tasks = [background_task(abs, supervisor=make_supervisor())(1) for _ in range(2)]
    assert tasks[0].short_id == tasks[1].short_id and tasks[0].id != tasks[1].id


def test_a_supervisor_finds_live_tasks_by_id(supervisor):
    task = background_task(abs, supervisor=supervisor, delay=60)(1)
    assert supervisor.get_task(task.id) is task
    assert supervisor.get_task(new_id()) is None and supervisor.get_task(task.id[:-1] + "x") is None


@pytest.mark.parametrize("chosen, shown",
                         [("order-17", "order-17"), ("exactly-12ch", "exactly-12ch"),
                          ("a longer name of a task", "a longer")])
def test_an_id_that_the_caller_has_chosen_is_kept_and_cut_for_people(supervisor, chosen, shown):
    task = supervisor.put_task(abs, (-1,), task_id=chosen)
    assert (task.id, task.short_id) == (chosen, shown)
    assert f" {shown} " in repr(task)


@pytest.mark.parametrize("odd",
                         ["", "8" * 32, "z" * 12 + "8000" + "9000" + "z" * 12,
                          "0f8fad5bd9cb469fa16570867728950e"])
def test_the_short_form_of_any_text_is_short(odd):
    assert len(short_id(odd)) <= 18


@pytest.mark.parametrize("tt", [TT_THREAD, TT_MP, TT_COROUTINE])
def test_prefixes_differ_and_make_uuids_of_version_8(tt):
    prefixes = {make_prefix(tt) for _ in range(100)}
    assert len(prefixes) == 100
    for prefix in prefixes:
        made = uuid.UUID(hex=f"{prefix}{1:012x}")
        assert made.version == 8 and made.variant == uuid.RFC_4122


def test_new_ids_are_uuids_of_version_4():
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    for one in ids:
        assert uuid.UUID(hex=one).version == 4 and uuid.UUID(hex=one).variant == uuid.RFC_4122


def test_tasks_of_a_checkpoint_have_ids_of_their_own(supervisor, tmp_path):
    with Checkpoint(tmp_path / "file") as checkpoint:
        tmap(abs, [-1, -2], checkpoint=checkpoint, supervisor=supervisor)
        queue = ThreadQueue(supervisor=supervisor)
        handles = queue.map(abs, [-1, -2, -3], checkpoint=checkpoint)
        queue.run()
    assert len({handle.task_id for handle in handles}) == len({handle.task.short_id
                                                               for handle in handles}) == 3
    assert all(uuid.UUID(hex=handle.task_id) for handle in handles)


def test_ids_of_restored_tasks_have_no_number_of_a_pool(supervisor, tmp_path):
    # One id in eighty would look like an id with a number if the digits were random.
    with Checkpoint(tmp_path / "file") as checkpoint:
        tmap(abs, [-1], checkpoint=checkpoint, supervisor=supervisor)
        queues = [ThreadQueue(supervisor=supervisor) for _ in range(500)]
        handles = [queue.map(abs, [-1], checkpoint=checkpoint)[0] for queue in queues]
    for handle in handles:
        assert uuid.UUID(hex=handle.task_id).version == 4
        assert handle.task.short_id == "00000001" == handle.task_id[:8]
