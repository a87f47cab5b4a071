"""FunctionCollection and TaskCollection."""
import logging
import threading
from functools import partial

import pytest

from atasker_like import (TASK_HIGH, TASK_LOW, FunctionCollection, InvalidTypeError,
                          SupervisorStoppedError, TaskCollection, _checks, _modes, background_task,
                          current_task)
from tests.support import PATIENCE
from tests.support.gates import Hold
from tests.support.internals.engine import WARNED
from tests.support.threads import join, started

ME = __name__


@pytest.fixture(params=["functions", "tasks"])
def make(request, supervisor):
    """Makes collections of either kind."""
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)

    def make(**options):
        if request.param == "functions":
            return FunctionCollection(**options)
        return TaskCollection(supervisor=supervisor, **options)

    return make


def one():
    return 1


def two():
    return 2


def broken():
    raise ValueError("broken on purpose")


def leaves():
    raise SystemExit(3)


def test_run_gives_results_by_module_and_name(make):
    collection = make()
    collection.append(one)
    collection.append(two)
    assert collection.run() == {f"{ME}.one": 1, f"{ME}.two": 2}


def test_execute_returns_results_and_success(make):
    collection = make()
    collection.append(one)
    assert collection.execute() == ({f"{ME}.one": 1}, True)


def test_empty_collection_gives_no_results(make):
    assert make().execute() == ({}, True)


def test_collection_decorator_returns_the_function(make):
    collection = make()
    assert collection(one) is one
    assert collection(priority=5)(two) is two
    assert collection() == {f"{ME}.two": 2, f"{ME}.one": 1}


def test_order_of_priority_ties_first_come_first_served(make):
    collection, order = make(), []

    def add(name, **options):
        def function():
            order.append(name)

        function.__name__ = name
        collection.append(function, **options)

    add("low", priority=TASK_LOW)
    add("normal")
    add("normal too", priority=100)
    add("fraction", priority=99.5)
    add("high", priority=TASK_HIGH)
    add("next to nothing", priority=1)
    result = collection.run()
    expected = ["next to nothing", "high", "fraction", "normal", "normal too", "low"]
    assert [name.rpartition(".")[2] for name in result] == expected
    assert order == expected


@pytest.mark.parametrize("priority", [0, -5])
def test_priorities_of_zero_and_below_are_accepted(make, priority):
    collection = make()
    collection.append(one)
    collection.append(two, priority=priority)
    assert list(collection.run()) == [f"{ME}.two", f"{ME}.one"]


def test_function_that_is_added_twice_runs_once(make):
    collection = make()
    calls = []

    def function():
        calls.append(1)

    for priority in (None, 5, None):
        collection.append(function, priority)
    collection.run()
    assert calls == [1]


def test_remove_takes_a_function_out(make):
    collection = make()
    collection.append(one)
    collection.append(two)
    collection.remove(one)
    assert collection.run() == {f"{ME}.two": 2}


def test_remove_of_a_missing_function_is_an_error(make):
    with pytest.raises(ValueError, match=f"{ME}.one is not in this collection"):
        make().remove(one)
    told = []
    make(on_error=lambda e: told.append(e)).remove(one)
    assert [isinstance(error, ValueError) for error in told] == [True]


def test_methods_can_be_added_to_a_collection_and_removed(make):
    class Thing:
        def work(self):
            return 5

    collection, thing = make(), Thing()
    collection.append(thing.work)
    assert collection.run() == {f"{ME}.work": 5}
    collection.remove(thing.work)
    assert collection.run() == {}


def test_object_without_a_name_is_shown_by_its_class(make):
    from functools import partial

    collection = make()
    collection.append(partial(max, 1, 2))
    assert collection.run() == {"functools.partial": 2}


# -- failures --------------------------------------------------------------------------------------


def test_failed_function_has_result_none_and_the_rest_run(make):
    collection = make(on_error=lambda: None)
    for function in (broken, one):
        collection.append(function)
    assert collection.execute() == ({f"{ME}.broken": None, f"{ME}.one": 1}, False)


@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("how", ["run", "execute", "__call__"])
def test_exception_without_on_error_is_raised_and_ends_the_run(make, how, include, caplog, unseen):
    ran = []
    collection = make(include_exceptions=include)
    collection.append(one)
    collection.append(broken)
    collection.append(lambda: ran.append(1))
    with pytest.raises(ValueError, match="broken on purpose") as raised:
        getattr(collection, how)()
    assert raised.traceback[-1].name == "broken"
    assert ran == [] and caplog.text == "" and unseen() == []


def test_exception_is_raised_when_the_tasks_that_run_have_ended(supervisor):
    collection, hold = TaskCollection(supervisor=supervisor), Hold()
    ended = []

    def holds():
        hold()
        ended.append(1)

    def fails():
        hold.reached()
        raise ValueError("broken on purpose")

    collection.append(holds)
    collection.append(fails)
    running = started(collection.run)
    hold.reached()
    while supervisor.stats().thread.succeeded < 1:      # its task returns what the run ends with
        threading.Event().wait(0.001)
    assert running.is_alive()
    hold.go()
    error = join(running)
    assert (type(error), str(error), ended) == (ValueError, "broken on purpose", [1])


def test_on_error_gets_the_exception_and_its_own_arguments(make):
    told = []

    def on_error(e, text):
        told.append((e, text))

    collection = make(on_error=on_error, on_error_kwargs={"text": "mine"})
    collection.append(broken)
    collection.run()
    [(error, text)] = told
    assert (type(error), str(error), text) == (ValueError, "broken on purpose", "mine")


def test_on_error_with_any_keywords_gets_its_own_arguments_only(make):
    told = []
    collection = make(on_error=lambda **kwargs: told.append(kwargs),
                      on_error_kwargs={"text": "mine"})
    collection.append(broken)
    collection.run()
    assert told == [{"text": "mine"}]


def test_on_error_that_takes_no_exception_is_called_without(make):
    told = []

    def on_error(text):
        import sys
        told.append((text, str(sys.exc_info()[1])))

    collection = make(on_error=on_error, on_error_kwargs={"text": "mine"})
    collection.append(broken)
    collection.run()
    assert told == [("mine", "broken on purpose")]


def test_own_e_in_on_error_kwargs_is_kept(make):
    told = []
    collection = make(on_error=lambda e: told.append(e), on_error_kwargs={"e": "mine"})
    collection.append(broken)
    collection.run()
    assert told == ["mine"]


def test_include_exceptions_gives_error_and_traceback(make):
    collection = make(on_error=lambda: None, include_exceptions=True)
    collection.append(broken)
    result, all_ok = collection.execute()
    error, text = result[f"{ME}.broken"]
    assert (type(error), all_ok) == (ValueError, False)
    assert text.startswith("Traceback") and "in broken" in text and "broken on purpose" in text


@pytest.mark.parametrize("error", [KeyError, SystemExit])
def test_exception_of_on_error_is_raised_and_ends_the_run(make, error, caplog, unseen):
    told, ran = [], []

    def on_error(e):
        told.append(type(e))
        raise error("in on_error")

    collection = make(on_error=on_error)
    collection.append(broken)
    collection.append(lambda: ran.append(1))
    with pytest.raises(error, match="in on_error") as raised:
        try:
            raise ValueError("handled by the caller of run()")
        except ValueError:
            collection.run()
    assert str(raised.value.__context__) == "broken on purpose"
    assert (told, ran) == ([ValueError], [])
    assert caplog.text == "" and unseen() == []


def test_on_error_that_raises_the_exception_again_ends_the_run_with_it(make):
    ran = []

    def on_error():
        raise

    collection = make(on_error=on_error)
    collection.append(broken)
    collection.append(lambda: ran.append(1))
    with pytest.raises(ValueError, match="broken on purpose"):
        collection.execute()
    assert ran == []


@pytest.mark.parametrize("kind", [FunctionCollection, TaskCollection])
def test_overridden_error_that_raises_ends_the_run(supervisor, kind):
    class Mine(kind):
        def error(self):
            raise KeyError("mine")

    collection = Mine(**({} if kind is FunctionCollection else {"supervisor": supervisor}))
    collection.append(broken)
    with pytest.raises(KeyError, match="mine"):
        collection.run()


@pytest.mark.parametrize("kind", [FunctionCollection, TaskCollection])
def test_options_that_a_subclass_passes_on_are_ignored(kind, caplog):
    class Mine(kind):
        def __init__(self, **options):
            super().__init__(**options)
            self.url = options["url"]

    with caplog.at_level(logging.DEBUG, "atasker_like"):
        assert Mine(url="there", include_exceptions=True).include_exceptions
    assert "Mine: option 'url' is not known, and ignored" in caplog.text


def test_error_may_be_overridden(supervisor):
    told = []

    class Mine(TaskCollection):
        def error(self):
            told.append(threading.current_thread().name)

    collection = Mine(supervisor=supervisor)
    collection.append(broken)
    assert collection.execute()[1] is False
    assert told[0].startswith(f"supervisor_{supervisor.id}")


def test_function_that_raises_system_exit_ends_the_run():
    collection = FunctionCollection()
    collection.append(leaves)
    with pytest.raises(SystemExit):
        collection.run()


def test_task_that_raises_system_exit_is_a_failure(supervisor, caplog, unseen):
    told = []
    collection = TaskCollection(supervisor=supervisor, include_exceptions=True,
                                on_error=lambda e: told.append(type(e)))
    for function in (leaves, one):
        collection.append(function)
    result, all_ok = collection.execute()
    assert type(result[f"{ME}.leaves"][0]) is SystemExit
    assert (result[f"{ME}.one"], all_ok) == (1, False)
    assert told == [SystemExit]
    assert unseen() == []
    collection.on_error = None
    with pytest.raises(SystemExit):
        collection.run()


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [5, "f", object()])
def test_collection_refuses_objects_that_are_no_functions(make, bad):
    with pytest.raises(TypeError, match="takes functions"):
        make().append(bad)


def test_coroutine_functions_are_refused_by_collections(make):
    async def never():
        pass

    with pytest.raises(TypeError, match="coroutine function.*never await"):
        make()(never)


def count():
    yield 1


async def acount():
    yield 1


@pytest.mark.parametrize("function, text", [
    (count, r"count is a generator function.*iterates over it, such as lambda: list\("),
    (acount, "acount is an async generator function.*'async for'.*asyncio.run"),
    (partial(count), "partial is a generator function")], ids=["plain", "async", "partial"])
def test_generator_functions_are_refused_by_collections(make, function, text):
    collection = make()
    for add in (collection, collection.append, collection(priority=1)):
        with pytest.raises(InvalidTypeError, match=text):
            add(function)
    assert collection.run() == {}


@pytest.mark.parametrize("function", [count, acount])
def test_a_program_for_atasker_is_warned_once_of_a_generator_in_a_collection(make, monkeypatch,
                                                                             caplog, function):
    monkeypatch.setattr(_modes, "legacy", True)
    WARNED.patch(monkeypatch, _checks, set())
    for _ in range(2):
        assert make()(priority=1)(function) is function
    [message] = caplog.messages
    assert f"{function.__name__} is a" in message and "generator function" in message


@pytest.mark.parametrize("bad, error",
                         [("high", TypeError), (True, TypeError), (float("nan"), ValueError),
                          (float("inf"), ValueError)])
def test_priority_that_is_no_number_is_refused(make, bad, error):
    collection = make()
    with pytest.raises(error, match="priority"):
        collection.append(one, priority=bad)
    with pytest.raises(error, match="priority"):
        collection(priority=bad)
    assert collection.run() == {}


@pytest.mark.parametrize("options, word", [({"on_error": 5}, "on_error"),
                                           ({"on_error_kwargs": 5}, "on_error_kwargs"),
                                           ({"on_eror": one}, "on_eror")])
def test_collection_options_are_checked(make, options, word):
    with pytest.raises(TypeError, match=word):
        make(**options)


def test_collection_supervisor_of_a_wrong_type_is_refused():
    with pytest.raises(TypeError, match="supervisor"):
        TaskCollection(supervisor="mine")


# -- in threads ------------------------------------------------------------------------------------


def test_tasks_run_in_pool_threads_at_the_same_time(supervisor):
    supervisor.set_thread_pool(pool_size=2)
    barrier = threading.Barrier(2)
    collection = TaskCollection(supervisor=supervisor, poll_delay=0.1)

    def meet():
        barrier.wait(PATIENCE)
        return threading.current_thread().name, current_task().name

    def meet_too():
        return meet()

    for function in (meet, meet_too):
        collection.append(function)
    result, all_ok = collection.execute()
    assert all_ok
    assert all(thread.startswith(f"supervisor_{supervisor.id}_thread")
               for thread, _ in result.values())
    assert result[f"{ME}.meet"][1] == f"{ME}.meet"
    assert collection.poll_delay == 0.1


def test_task_may_run_a_collection_in_a_pool_of_one(supervisor):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    collection = TaskCollection(supervisor=supervisor)
    collection.append(one)
    assert background_task(collection.run,
                           supervisor=supervisor)().value(PATIENCE) == {f"{ME}.one": 1}


def test_collection_is_run_by_several_threads_and_changed_meanwhile(make):
    collection, hold = make(), Hold()
    calls = []

    def first():
        calls.append(1)
        if len(calls) == 1:
            hold()
        return len(calls)

    collection.append(first)
    running = started(collection.run)
    hold.reached()
    collection.append(two)
    collection.remove(two)
    collection.append(one)
    other = started(collection.run) if isinstance(collection, TaskCollection) else None
    if other is None:
        assert collection.run() == {f"{ME}.first": 2, f"{ME}.one": 1}
    hold.go()
    assert list(join(running)) == [f"{ME}.first"]
    if other is not None:
        assert set(join(other)) == {f"{ME}.first", f"{ME}.one"}


def test_stopped_supervisor_takes_no_collection_run(supervisor):
    collection = TaskCollection(supervisor=supervisor)
    collection.append(one)
    supervisor.start()
    supervisor.stop()
    with pytest.raises(SupervisorStoppedError):
        collection.run()


def test_stop_that_cancels_fails_the_functions_that_have_not_run(supervisor, caplog):
    supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
    told = []
    collection, hold = TaskCollection(supervisor=supervisor,
                                      on_error=lambda e: told.append(type(e).__name__)), Hold()

    def holds():
        hold()

    collection.append(holds)
    collection.append(one)
    running = started(collection.execute)
    hold.reached()
    while supervisor.stats().waiting < 1:
        threading.Event().wait(0.001)
    assert supervisor.cancel_waiting() == 1
    hold.go()
    assert join(running) == ({f"{ME}.holds": None, f"{ME}.one": None}, False)
    assert told == ["TaskCancelledError"]
