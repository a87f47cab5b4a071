"""Checkpoints: what inputs and functions are known by, what is stored, and where."""
import asyncio
import logging
import sqlite3
import threading
from contextlib import closing
from datetime import date
from decimal import Decimal
from enum import Enum
from functools import partial

import pytest

from atasker_like import (AsyncQueue, Checkpoint, InvalidArgumentError, InvalidTypeError,
                          ThreadQueue, amap, run, tmap)
from tests.support.internals.queue import EXECUTE

from .functions import add, co_double, double, fail_at_one, same


class Kind(Enum):
    ONE = 1


def count_arguments(*args, **kwargs):
    return len(args) + len(kwargs)


@pytest.fixture(params=["map", "group", "tmap", "amap"])
def called(request, supervisor):
    """Each way in, as a function that returns the values and counts the calls that were made."""
    def call(function, items, **options):
        calls = []

        def counted(*args, **kwargs):
            calls.append(args)
            return function(*args, **kwargs)

        async def co_counted(*args, **kwargs):
            return counted(*args, **kwargs)

        if request.param == "amap":
            return run(amap(co_counted, items, supervisor=supervisor, **options)), len(calls)
        if request.param == "tmap":
            return tmap(counted, items, supervisor=supervisor, **options), len(calls)
        queue = ThreadQueue(supervisor=supervisor)
        made = getattr(queue, request.param)(counted, items, **options)
        queue.run()
        return tuple(handle.value() for handle in made), len(calls)

    return call


def test_key_function_replaces_the_input(called):
    first = [{"a": 1, "b": 10}, {"a": 2, "b": 20}]
    again = [{"a": 1, "b": 99}, {"a": 3, "b": 30}]
    with Checkpoint() as checkpoint:
        options = {"checkpoint": checkpoint, "key": lambda row: row["a"], "namespace": "sums"}
        assert called(add, first, **options) == ((11, 22), 2)
        assert called(add, again, **options) == ((11, 33), 1)


@pytest.mark.parametrize("size", [1, 5])
def test_keys_and_calls_stay_together_in_a_bounded_queue(supervisor, size):
    with Checkpoint() as checkpoint:
        for _ in range(2):
            values = run(amap(co_double, range(30), size=size, workers=1, checkpoint=checkpoint,
                              key=str, supervisor=supervisor))
            assert values == tuple(range(0, 60, 2))
        assert checkpoint.count() == 30


def test_a_key_is_not_taken_for_an_input(supervisor):
    with Checkpoint() as checkpoint:
        tmap(same, [1], checkpoint=checkpoint, key=lambda item: (item,), supervisor=supervisor)
        assert tmap(same, [1], checkpoint=checkpoint, supervisor=supervisor) == (1,)
        assert checkpoint.count() == 2


@pytest.mark.parametrize("function", [partial(pow, 2), lambda x: x])
def test_function_without_a_name_needs_a_namespace(supervisor, function):
    with Checkpoint() as checkpoint:
        with pytest.raises(InvalidTypeError, match="namespace="):
            tmap(function, [3], checkpoint=checkpoint, supervisor=supervisor)
        first = tmap(function, [3], checkpoint=checkpoint, namespace="mine", supervisor=supervisor)
        assert tmap(fail_at_one, [3], checkpoint=checkpoint, namespace="mine",
                    supervisor=supervisor) == first
        assert checkpoint.namespaces() == ("mine",)


def test_checkpoint_counts_lists_and_clears_namespaces(supervisor):
    with Checkpoint() as checkpoint:
        tmap(double, [1, 2], checkpoint=checkpoint, supervisor=supervisor)
        tmap(double, [1, 2, 3], checkpoint=checkpoint, namespace="v2", supervisor=supervisor)
        own = f"{double.__module__}.double"
        assert checkpoint.namespaces() == tuple(sorted([own, "v2"]))
        assert (checkpoint.count(), checkpoint.count("v2"), checkpoint.count(double),
                checkpoint.count(own)) == (5, 3, 2, 2)
        assert checkpoint.clear("nothing") == 0 and checkpoint.clear("v2") == 3
        assert (checkpoint.namespaces() == (own,) and checkpoint.clear() == 2
                and checkpoint.count() == 0)


@pytest.mark.parametrize("method", ["clear", "count"])
def test_checkpoint_refuses_a_namespace_that_is_neither_a_text_nor_a_function(method):
    with Checkpoint() as checkpoint, pytest.raises(InvalidTypeError, match=(
            "^a namespace of a checkpoint is a string or a function, not an int$")):
        getattr(checkpoint, method)(5)


def test_checkpoint_without_values_runs_nothing_again(called, tmp_path):
    with Checkpoint(tmp_path / "file", store_values=False) as checkpoint:
        assert called(double, [1, 2], checkpoint=checkpoint, namespace="n") == ((2, 4), 2)
        assert (called(double, [1, 2, 3], checkpoint=checkpoint, namespace="n")
                == ((None, None, 6), 1))
    with closing(sqlite3.connect(str(tmp_path / "file"))) as database:
        assert {value for value, in database.execute("SELECT value FROM done")} == {b""}


@pytest.mark.parametrize("arguments", [(), (None,), (":memory:",)])
def test_a_checkpoint_without_a_file_is_in_memory_and_says_so(arguments, caplog):
    with caplog.at_level(logging.INFO, "atasker_like"), Checkpoint(*arguments) as checkpoint:
        assert checkpoint.in_memory and "in memory" in repr(checkpoint)
    assert "in memory" in caplog.text


def test_a_file_is_not_in_memory(tmp_path):
    with Checkpoint(tmp_path / "file") as checkpoint:
        assert not checkpoint.in_memory and "file" in repr(checkpoint)


def test_a_file_of_the_version_before_is_used(tmp_path, supervisor):
    path = tmp_path / "file"
    with Checkpoint(path) as checkpoint:
        tmap(double, [1], checkpoint=checkpoint, supervisor=supervisor)
        EXECUTE.of(checkpoint)("DROP TABLE users")
    with Checkpoint(path) as checkpoint:
        assert tmap(double, [1], checkpoint=checkpoint, supervisor=supervisor) == (2,)
        assert (tmap(double, [1], checkpoint=checkpoint, namespace="n", supervisor=supervisor)
                == (2,))


# -- bad input -------------------------------------------------------------------------------------


def test_a_key_function_that_raises_is_reported_with_the_item(supervisor):
    queue = ThreadQueue(supervisor=supervisor)
    with Checkpoint() as checkpoint, pytest.raises(InvalidArgumentError, match="KeyError.*item "
                                                                               "1.*'b'") as caught:
        queue.map(same, [{"a": 1}, {"b": 2}], checkpoint=checkpoint, key=lambda row: row["a"])
    assert isinstance(caught.value.__cause__, KeyError)
    assert queue.stats["pending"] == 0


@pytest.mark.parametrize("made", [[1], {"a": 1}, {1}])
def test_a_key_that_cannot_be_hashed_is_refused(supervisor, made):
    with Checkpoint() as checkpoint, pytest.raises(InvalidTypeError, match="item 0, which cannot "
                                                                           "be hashed; return a "
                                                                           "string"):
        ThreadQueue(supervisor=supervisor).map(same, [1], checkpoint=checkpoint,
                                               key=lambda item: made)


def test_unhashable_key_of_an_async_item_is_refused_with_its_position(supervisor):
    async def items():
        yield "a"
        yield "b"

    async def main():
        queue = AsyncQueue(supervisor=supervisor)
        with Checkpoint() as checkpoint:
            await queue.amap(asyncio.sleep, items(), checkpoint=checkpoint, namespace="n",
                             key=lambda item: [] if item == "b" else item)

    with pytest.raises(InvalidTypeError, match="item 1, which cannot be hashed"):
        asyncio.run(main())


class Plain:
    """Objects that are compared by their identity, and are pickled as equal ones."""


class Row:
    """An item that cannot be pickled, and is equal to the others of its number."""

    def __init__(self, number):
        self.number = number
        self.lock = threading.Lock()

    def __eq__(self, other):
        return self.number == other.number


@pytest.mark.parametrize("made, why", [
    (None, "None for item 0, 1, so"), (object(), "identity"), (Plain(), "Plain.*identity"),
    (float("nan"), "NaN"), (("a", float("nan")), "NaN"), (("a", (object(),)), "identity"),
    (frozenset([Plain()]), "identity"), (Decimal("nan"), "NaN")],
    ids=["none", "object", "plain", "nan", "nan in a tuple", "object in tuples",
         "plain in a set", "decimal"])
def test_a_key_that_cannot_tell_items_apart_is_refused(called, made, why):
    with Checkpoint() as checkpoint:
        with pytest.raises(InvalidTypeError, match=f"(?s)key= returned .*{why}.* return "):
            called(same, [1], checkpoint=checkpoint, namespace="n", key=lambda item: made)
        assert not checkpoint.count()


@pytest.mark.parametrize("made", ["a", 1, 0.5, b"a", True, (), ("a", None), frozenset("ab"),
                                  Kind.ONE, Plain, double, len, date(2000, 1, 1)],
                         ids=repr)
def test_a_key_with_a_value_is_taken(supervisor, made):
    with Checkpoint() as checkpoint:
        for _ in range(2):
            assert tmap(same, [7], checkpoint=checkpoint, namespace="n", key=lambda item: made,
                        supervisor=supervisor) == (7,)
        assert checkpoint.count() == 1


@pytest.mark.parametrize("make", [list, iter, lambda items: dict.fromkeys(items).keys()],
                         ids=["list", "iterator", "view"])
def test_one_key_for_two_items_of_a_call_is_refused(called, make):
    with Checkpoint() as checkpoint, pytest.raises(
            InvalidArgumentError, match="'b' for item 2, 'bc', and for item 1, which differs"):
        called(same, make(["a", "b", "bc"]), checkpoint=checkpoint, namespace="n",
               key=lambda item: item[0])


@pytest.mark.parametrize("make", [list, iter], ids=["list", "iterator"])
@pytest.mark.parametrize("items", [
    ["a", "b", "a"], [(1, 2), (3, 4), (1, 2)], [{"x": 1}, {"x": 2}, {"x": 1}],
    [float("nan"), 5, float("nan")], [Row(1), Row(2), Row(1)]],
    ids=["strings", "tuples", "dicts", "nans", "unpicklable"])
def test_equal_items_of_a_call_may_have_one_key(supervisor, make, items):
    with Checkpoint() as checkpoint:
        for _ in range(2):
            tmap(count_arguments, make(items), checkpoint=checkpoint, supervisor=supervisor,
                 key=lambda item: str(getattr(item, "number", item)))
        assert checkpoint.count() == 2


def test_one_key_for_two_async_items_is_refused(supervisor):
    async def items():
        yield "a"
        yield "ab"

    async def main():
        queue = AsyncQueue(supervisor=supervisor)
        with Checkpoint() as checkpoint:
            await queue.amap(asyncio.sleep, items(), checkpoint=checkpoint, namespace="n",
                             key=lambda item: item[0])

    with pytest.raises(InvalidArgumentError, match="for item 1, 'ab', and for item 0"):
        asyncio.run(main())


def test_an_object_without_a_value_is_refused_as_an_input(supervisor):
    with Checkpoint() as checkpoint, pytest.raises(InvalidTypeError, match="has no value"):
        tmap(same, [object()], checkpoint=checkpoint, supervisor=supervisor)


@pytest.mark.parametrize("call", [
    lambda queue: queue.submit(same, 1, group_id=[1]),
    lambda queue: queue.map(same, [1], group_id=[1]),
    lambda queue: queue.group(same, [1], group_id=[1]),
    lambda queue: queue.task(group_id=[1])(same),
], ids=["submit", "map", "group", "task"])
def test_unhashable_group_id_is_refused_at_the_call(supervisor, call):
    queue = ThreadQueue(supervisor=supervisor)
    with pytest.raises(InvalidTypeError, match=r"group_id takes a value that can be hashed, not "
                                               r"\[1\]"):
        call(queue)
    assert queue.stats["submitted"] == 0


@pytest.mark.parametrize("options, word",
                         [({"key": str}, "checkpoint="), ({"namespace": "n"}, "checkpoint=")])
def test_key_and_namespace_need_a_checkpoint(supervisor, options, word):
    with pytest.raises(InvalidTypeError, match=word):
        tmap(same, [1], supervisor=supervisor, **options)


@pytest.mark.parametrize("options", [{"key": 5}, {"namespace": 5}, {"namespace": ""}])
def test_wrong_keys_and_namespaces_are_refused(supervisor, options):
    with Checkpoint() as checkpoint, pytest.raises(InvalidTypeError, match=next(iter(options))):
        tmap(same, [1], checkpoint=checkpoint, supervisor=supervisor, **options)


def test_a_key_of_a_group_needs_items(supervisor):
    with Checkpoint() as checkpoint, pytest.raises(InvalidTypeError, match="needs items="):
        ThreadQueue(supervisor=supervisor).group([(same, 1)], checkpoint=checkpoint, key=str)


def test_two_functions_in_one_namespace_are_warned_of(tmp_path, supervisor, caplog):
    """As two processes on one file: each opens it for itself."""
    with Checkpoint(tmp_path / "file") as one, Checkpoint(tmp_path / "file") as other:
        tmap(double, [1], checkpoint=one, namespace="step", supervisor=supervisor)
        assert not caplog.messages
        tmap(same, [2], checkpoint=other, namespace="step", supervisor=supervisor)
        [message] = caplog.messages
        for part in ("'step'", "functions.double", "functions.same", "clear('step')"):
            assert part in message
        # without a namespace, each has its own
        tmap(double, [3], checkpoint=one, supervisor=supervisor)
        tmap(same, [3], checkpoint=other, supervisor=supervisor)
        assert len(caplog.messages) == 1 and one.count(double) == one.count(same) == 1


@pytest.mark.parametrize("statement", [1, 2])
def test_two_functions_that_begin_with_one_namespace_at_once_are_warned_of(tmp_path, monkeypatch,
                                                                           caplog, statement):
    """The second process runs after the first or the second statement of the first one."""
    with Checkpoint(tmp_path / "file") as one, Checkpoint(tmp_path / "file") as other:
        execute, left = EXECUTE.of(one), [statement]

        def execute_then_other(*arguments):
            rows = execute(*arguments)
            left[0] -= 1
            if not left[0]:
                other.page(same, "step")
            return rows

        EXECUTE.patch(monkeypatch, one, execute_then_other)
        one.page(double, "step")
        assert left[0] <= 0
    messages = [message for message in caplog.messages if "namespace 'step'" in message]
    assert len(messages) in (1, 2)
    assert "functions.double" in messages[0] and "functions.same" in messages[0]


def test_one_function_that_uses_its_namespace_again_is_not_warned_of(tmp_path, caplog):
    for _ in range(2):
        with Checkpoint(tmp_path / "file") as checkpoint:
            checkpoint.page(double, "step")
            checkpoint.page(double, "step")
    assert not caplog.messages
