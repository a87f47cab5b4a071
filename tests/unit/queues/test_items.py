"""The index and the item of failed tasks that map, group and similar calls submit."""
import io
import pickle
import sys

import pytest

from atasker_like import Checkpoint, ExecutionError, amap, pmap, run, tmap, wait_completed
from tests.support import PATIENCE

from .functions import co_fail_at_one, fail_at_one


class Told:
    """An item that counts how often it is shown."""

    def __init__(self):
        self.shown = 0

    def __repr__(self):
        self.shown += 1
        return "<told>"


class Long:
    def __repr__(self):
        return "x" * 100_000


class Broken:
    def __repr__(self):
        raise KeyError("repr")


def fail_with(item):
    raise ValueError("no")


async def co_fail_with(item):
    raise ValueError("no")


def test_results_of_a_map_have_their_index_and_failures_their_item(face):
    queue = face.make()
    face.do(queue.map, face.function("fail_at_one"), [0, 1, 2])
    results = face.run(queue).results
    assert [result.index for result in results] == [0, 1, 2]
    assert [result.item for result in results] == [None, "1", None]
    assert pickle.loads(pickle.dumps(results[0])).index == 0


def test_results_of_a_group_are_counted_through(inside):
    queue = inside.make()
    function = inside.function("fail_at")
    inside.do(queue.group, [(function, 1, 1), (inside.function("same"), 5), (function, 2, 2)])
    results = inside.run(queue).results
    assert ([(result.index, result.item) for result in results]
            == [(0, "(1, 1)"), (1, None), (2, "(2, 2)")])


def test_result_of_a_single_call_has_neither_index_nor_item(inside):
    queue = inside.make()
    inside.do(queue.submit, inside.function("fail"))
    [result] = inside.run(queue).results
    assert result.index is None and result.item is None
    assert "item" not in str(result.message)


@pytest.mark.parametrize("settings",
                         [{}, {"retries": 1}, {"timeout": PATIENCE}, {"size": 5},
                          {"fail_policy": "fail_first"},
                          {"on_complete": lambda result: None}, {"checkpoint": True}])
def test_indices_with_every_setting_are_right(supervisor, settings):
    with Checkpoint() as checkpoint:
        settings = {**settings, **({"checkpoint": checkpoint} if "checkpoint" in settings else {})}
        with pytest.raises(ExecutionError, match=r"item 1: 1: ValueError") as caught:
            tmap(fail_at_one, [0, 1], workers=1, supervisor=supervisor, **settings)
    assert [(result.index, result.item) for result in caught.value.results] == [(1, "1")]


def test_indices_go_on_over_chunks(supervisor):
    from atasker_like import ThreadQueue

    queue = ThreadQueue(supervisor=supervisor)
    queue.map(abs, range(1200))
    assert [result.index for result in queue.run().results] == list(range(1200))


@pytest.mark.parametrize("way", ["tmap", "amap", pytest.param("pmap", marks=pytest.mark.slow)])
def test_execution_error_names_the_item(supervisor, way):
    with pytest.raises(ExecutionError, match=r"\((t|c|p)-\d+\), item 2: 1: ValueError") as caught:
        if way == "amap":
            run(amap(co_fail_at_one, [0, 2, 1], supervisor=supervisor))
        else:
            {"tmap": tmap, "pmap": pmap}[way](fail_at_one, [0, 2, 1], supervisor=supervisor)
    if sys.version_info >= (3, 11):
        [note] = caught.value.__cause__.__notes__
        assert note.startswith("item 2: 1 of ")


def test_wait_completed_names_the_item(threads):
    queue = threads.make()
    handles = queue.map(fail_at_one, [0, 1])
    queue.start()
    with pytest.raises(ExecutionError, match="item 1: 1"):
        wait_completed(handles, strict=True)
    queue.shutdown()


def test_display_has_the_item(threads):
    queue, out = threads.make(), io.StringIO()
    queue.map(fail_at_one, [0, 1])
    threads.run(queue).display(out)
    assert "item" in out.getvalue() and "1: 1" in out.getvalue()
    queue, out = threads.make(), io.StringIO()
    queue.submit(fail_at_one, 1)
    threads.run(queue).display(out)
    assert "item" not in out.getvalue()


def test_an_item_is_shown_when_its_call_fails_and_never_otherwise(inside):
    queue, items = inside.make(), [Told(), Told()]
    inside.do(queue.map, inside.function("same"), items[:1])
    inside.do(queue.map, co_fail_with if inside.is_async else fail_with, items[1:])
    results = inside.run(queue).results
    assert [item.shown for item in items] == [0, 1] and results[1].item == "<told>"


def test_items_that_are_not_kept_are_not_shown(supervisor):
    item = Told()
    with pytest.raises(ExecutionError, match=r"item 0: ValueError") as caught:
        tmap(fail_with, [item], keep_items=False, supervisor=supervisor)
    assert (item.shown == 0 and caught.value.results[0].item is None
            and caught.value.results[0].index == 0)


@pytest.mark.parametrize("item", [Long(), Broken(), "y" * 100_000, [["z" * 1000] * 1000] * 1000])
def test_the_text_of_an_item_is_bounded(supervisor, item):
    with pytest.raises(ExecutionError) as caught:
        tmap(fail_with, [item], supervisor=supervisor)
    assert 0 < len(caught.value.results[0].item) <= 200


def test_item_with_keywords_is_shown(supervisor):
    with pytest.raises(ExecutionError, match=r"item 0: \{'item': 5\}"):
        tmap(fail_with, [{"item": 5}], supervisor=supervisor)


def test_an_error_that_many_items_share_has_one_note(supervisor):
    error = ValueError("shared")

    def fail(item):
        raise error

    with pytest.raises(ExecutionError):
        tmap(fail, range(5), supervisor=supervisor)
    assert len(getattr(error, "__notes__", ())) == (1 if sys.version_info >= (3, 11) else 0)


def test_a_cancelled_task_of_a_map_has_its_index(threads):
    queue = threads.make()
    queue.map(fail_at_one, [1, 2])
    queue.cancel()
    assert [(result.index, result.item) for result in queue.results] == [(0, None), (1, None)]
