import functools
import inspect
import pickle
import pydoc
import threading

import pytest

from atasker_like import (TASK_HIGH, TASK_LOW, TT_COROUTINE, TT_MP, TT_THREAD, BoundTask, Task,
                          background_task, wait_completed)

from . import functions
from .functions import MoreThings, Things, by_hand, co_double, double, triple

# -- the forms -------------------------------------------------------------------------------------


def test_decorator_without_parentheses_has_default_options():
    task = double(4)
    assert isinstance(task, Task)
    assert task.value(10) == 8
    assert (task.tt, task.priority) == (TT_THREAD, 100)


def test_decorator_with_parentheses_takes_options():
    task = triple(4)
    assert (task.tt, task.priority) == (TT_MP, 50)
    assert task.value(20) == 12


def test_with_empty_parentheses():
    assert background_task()(functions.plain)(1).value(10) == 2


def test_decorator_called_by_hand_makes_a_task():
    assert background_task(functions.plain, priority=TASK_LOW)(1).value(10) == 2
    assert by_hand(1).value(20) == 2


def test_a_coroutine_function():
    task = co_double(4)
    assert task.tt == TT_COROUTINE
    assert task.value(10) == 8


def test_all_arguments_reach_the_function_as_they_are():
    @background_task
    def collect(*args, **kwargs):
        return args, kwargs

    keywords = {"priority": 1, "timeout": 2, "name": 3, "tt": 4, "self": 5, "args": 6, "spec": 7}
    assert collect(1, *[2], **keywords).value(10) == ((1, 2), keywords)


@pytest.mark.parametrize("thing, arguments, value", [
    (functools.partial(functions.plain, 1), (), 2),
    (len, ([1, 2],), 2),
    (str.upper, ("a",), "A"),
    ("a,b".split, (",",), ["a", "b"]),
    (int, ("5",), 5),
    (lambda: 7, (), 7),
], ids=["partial", "builtin", "slot", "bound method", "class", "lambda"])
def test_whatever_can_be_called(thing, arguments, value):
    assert background_task(thing)(*arguments).value(10) == value


def test_a_partial_of_a_coroutine_function_runs_in_a_loop():
    async def add(a, b):
        return a + b

    task = background_task(functools.partial(add, 1))(2)
    assert task.tt == TT_COROUTINE
    assert task.value(10) == 3


def test_an_object_whose_call_is_a_coroutine_function_runs_in_a_loop():
    class Adder:
        async def __call__(self, a):
            return a + 1

    task = background_task(Adder())(2)
    assert task.tt == TT_COROUTINE
    assert task.value(10) == 3


def test_decorating_twice_is_decorating_once():
    assert background_task(double)(4).value(10) == 8
    assert background_task(triple, tt=TT_THREAD)(4).tt == TT_THREAD


def test_daemon_is_ignored_with_a_warning(caplog):
    assert background_task(functions.plain, daemon=True)(1).value(10) == 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "daemon" in caplog.text


# -- methods ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("call, value", [
    (lambda: Things(10).method(1), 11),
    (lambda: Things.method(Things(10), 1), 11),
    (lambda: Things(10).co_method(1), 11),
    (lambda: Things(10).mp_method(1), 11),
    (lambda: Things.static_below(1), 1),
    (lambda: Things().static_below(1), 1),
    (lambda: Things.static_above(1), 1),
    (lambda: Things().static_above(1), 1),
    (lambda: Things.class_below(1), ("Things", 1)),
    (lambda: Things().class_below(1), ("Things", 1)),
    (lambda: MoreThings.class_below(1), ("MoreThings", 1)),
    (lambda: Things.class_above(1), ("Things", 1)),
    (lambda: MoreThings().class_above(1), ("MoreThings", 1)),
])
def test_decorated_methods_get_their_objects(call, value):
    assert call().value(20) == value


# Below @classmethod a task's options are not bound to the class, on some versions of Python: so it
# is not here.
@pytest.mark.parametrize("method, value", [
    (Things(10).method, 11), (Things(10).mp_method, 11), (Things.static_below, 1),
    (Things.static_above, 1),
    (Things.class_below, ("Things", 1)), (MoreThings().class_below, ("MoreThings", 1)),
], ids=["method", "mp_method", "static_below", "static_above", "class_below", "of_an_instance"])
def test_options_and_map_of_methods(method, value):
    task = method.options(priority=TASK_LOW)(1)
    assert (task.priority, task.value(20)) == (200, value)
    assert list(method.map([1, 1])) == [value, value]


def test_methods_in_a_map():
    assert list(Things(10).method.map([1, 2])) == [11, 12]


# -- .options() ------------------------------------------------------------------------------------


def test_options_for_one_call():
    task = double.options(priority=TASK_HIGH, name="urgent", metadata={"a": 1})(4)
    assert (task.priority, task.name, task.metadata, task.value(10)) == (50, "urgent", {"a": 1}, 8)
    assert double(4).priority == 100


def test_options_are_merged_the_last_one_wins():
    bound = background_task(functions.plain, priority=1, retries=2, name="first")
    changed = bound.options(priority=2).options(name="second")
    options = changed(1).options
    assert (options.priority, options.retries, options.name) == (2, 2, "second")


def test_options_may_be_positional_up_to_the_callback(make_supervisor):
    mine, seen = make_supervisor(), []
    task = double.options(tt=TT_MP, supervisor=mine, callback=seen.append)(4)
    assert task.tt == TT_MP
    assert mine.get_task(task.id) is task or task.done()
    assert task.value(20) == 8
    assert seen == [8]


def test_a_callback_may_be_taken_away():
    seen = []
    bound = background_task(functions.plain, callback=seen.append)
    assert bound.options(callback=None)(1).value(10) == 2
    assert seen == []


def test_options_of_a_coroutine_function_may_name_a_loop(make_supervisor):
    mine = make_supervisor()
    mine.create_aloop("mine")
    assert co_double.options(supervisor=mine, loop="mine")(4).value(10) == 8


# -- map -------------------------------------------------------------------------------------------


class Counted:
    """An iterable that counts what was taken from it."""

    def __init__(self, count):
        self.taken = 0
        self._count = count

    def __iter__(self):
        for number in range(self._count):
            self.taken += 1
            yield number


def test_map_yields_in_order():
    assert list(double.map(range(1000))) == [2 * n for n in range(1000)]


def test_map_in_processes_and_loops():
    assert list(triple.map(range(100))) == [3 * n for n in range(100)]
    assert list(co_double.map(range(100))) == [2 * n for n in range(100)]


@pytest.mark.parametrize("buffersize", [None, 1, 7])
def test_map_of_nothing(buffersize):
    assert list(double.map([], buffersize=buffersize)) == []


def test_map_without_buffersize_submits_at_once():
    items = Counted(2000)
    results = double.map(items)
    assert items.taken == 2000
    assert list(results) == [2 * n for n in range(2000)]


@pytest.mark.parametrize("buffersize", [1, 2, 10])
def test_map_with_buffersize_is_never_further_ahead(buffersize):
    items = Counted(50)
    results = double.map(items, buffersize=buffersize)
    for yielded in range(50):
        assert next(results) == 2 * yielded
        assert items.taken <= yielded + buffersize
    assert list(results) == []
    assert items.taken == 50


def test_map_with_buffersize_of_an_endless_iterable():
    def endless():
        n = 0
        while True:
            yield n
            n += 1

    results = double.map(endless(), buffersize=5)
    assert [next(results) for _ in range(20)] == [2 * n for n in range(20)]
    results.close()


@pytest.mark.parametrize("buffersize", [None, 3])
def test_map_raises_what_a_call_raised_at_its_position(buffersize):
    results = background_task(lambda n: 1 // n).map([1, 1, 0, 1], buffersize=buffersize)
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.parametrize("buffersize", [None, 10])
def test_what_is_left_of_a_map_that_is_given_up_is_cancelled(make_supervisor, buffersize):
    mine = make_supervisor(pool_size=1, reserve_normal=0, reserve_high=0)
    gate, ran = threading.Event(), []

    def body(n):
        ran.append(n)
        return n if n == 0 else gate.wait(10)

    results = background_task(body, supervisor=mine).map(range(10), buffersize=buffersize)
    assert next(results) == 0
    results.close()
    gate.set()
    mine.stop(wait=10)
    assert set(ran) <= {0, 1}
    assert mine.stats().cancelled >= 8


def test_starmap_unpacks_its_items():
    assert list(background_task(pow).starmap([(2, 3), [3, 2]])) == [8, 9]


def test_map_does_not_unpack():
    assert list(background_task(lambda item: item).map([(2, 3)])) == [(2, 3)]


# -- what tools see --------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", [double, triple, co_double, double.options(priority=1)])
def test_the_function_stays_visible(bound):
    function = bound.__wrapped__
    assert isinstance(bound, BoundTask)
    assert (bound.__name__, bound.__qualname__, bound.__module__, bound.__doc__) == (
        function.__name__, function.__qualname__, function.__module__, function.__doc__)
    assert inspect.signature(bound) == inspect.signature(function)


def test_annotations_and_defaults_are_in_the_signature():
    assert str(inspect.signature(double)) in ("(x: int, *, times: int = 1) -> int",
                                              "(x: 'int', *, times: 'int' = 1) -> 'int'")


def test_the_signature_of_a_method_has_no_self():
    assert list(inspect.signature(Things().method).parameters) == ["x"]
    assert Things.method.__doc__ == "A method."


def test_help_shows_the_text_of_the_function():
    assert "Multiply by two, so many times." in pydoc.render_doc(functions)
    assert "Multiply by two, so many times." in pydoc.render_doc(double)


def test_calling_the_function_itself():
    assert double.__wrapped__(4) == 8


def test_repr_shows_the_name_and_the_state():
    assert repr(double) == "<background_task double>"
    task = double(1)
    task.wait(10)
    assert repr(task) == f"<Task double {task.short_id} succeeded>"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("bound", [double, triple, co_double])
def test_pickling_is_by_name(bound, protocol):
    assert pickle.loads(pickle.dumps(bound, protocol)) is bound


def test_a_decorated_function_runs_in_a_process_though_its_name_leads_to_the_decorated_form():
    assert triple(5).value(20) == 15
    assert double.options(tt=TT_MP)(5).value(20) == 10


def test_a_decorated_function_as_an_argument_of_a_process_task():
    task = background_task(functions.plain, tt=TT_MP)
    assert task.options(tt=TT_THREAD)(1).value(10) == 2
    assert background_task(repr, tt=TT_MP)(double).value(20) == "<background_task double>"


def test_a_task_is_generic_for_type_checkers():
    assert Task[int] is not None


def test_current_task_in_a_decorated_function():
    assert wait_completed(functions.name_and_attempt()) == ("name_and_attempt", 1)
