"""amap, tmap, pmap, run."""
import asyncio
import subprocess
import sys
import threading

import pytest

from atasker_like import (AsyncQueue, ExecutionError, InvalidTypeError, ProcessQueue, TaskOptions,
                          ThreadQueue, amap, pmap, run, tmap)
from atasker_like.queues import maps as oneshot
from tests.contract.functions import enter
from tests.support import PATIENCE
from tests.support.internals.queue import CALL_AT

from . import functions
from .conftest import Aside


@pytest.fixture(params=["tmap", pytest.param("pmap", marks=pytest.mark.slow), "amap"])
def mapped(request, supervisor):
    """Each of the three, as a function for threads, with the name of a function of its kind."""
    if request.param == "amap":
        def call(function, items, **options):
            return run(amap(getattr(functions, f"co_{function}"), items, supervisor=supervisor,
                            **options))
    else:
        def call(function, items, **options):
            return {"tmap": tmap, "pmap": pmap}[request.param](getattr(functions, function), items,
                                                               supervisor=supervisor, **options)
    return call


def test_maps_return_values_in_order(mapped):
    assert mapped("double", [3, 1, 2]) == (6, 2, 4)
    assert mapped("add", [(1, 2), {"a": 3, "b": 4}, 5]) == (3, 7, 5)
    assert mapped("double", []) == ()


def test_maps_take_options_of_the_queue_and_of_its_tasks(mapped):
    assert mapped("succeed_at", [2, 2], workers=1, retries=1, name="n", timeout=20) == (2, 2)


def test_maps_raise_the_failures(mapped):
    with pytest.raises(ExecutionError, match="number 1") as caught:
        mapped("fail_at", [(0, 1), (1, 1), (2, 1)])
    assert [result.status for result in caught.value.results] == ["failed"]


def test_maps_with_fail_first_end_at_the_first_failure(mapped):
    with pytest.raises(ExecutionError) as caught:
        mapped("fail_at", [(n, 0) for n in range(2000)], workers=1, fail_policy="fail_first")
    assert {result.status for result in caught.value.results} == {"failed", "cancelled"}


def test_maps_refuse_an_unknown_option(mapped):
    with pytest.raises(InvalidTypeError, match="did you mean 'retries'"):
        mapped("double", [1], retrys=2)


def test_map_with_progress_shows_a_bar(mapped, capsys):
    mapped("double", [1, 2], progress=True)
    assert "2/2 100%" in capsys.readouterr().err


def test_maps_with_a_size_return_all_values(supervisor):
    assert (tmap(functions.double, range(50), workers=2, size=3, supervisor=supervisor)
            == tuple(range(0, 100, 2)))


@pytest.mark.parametrize("kind", [tmap, pytest.param(pmap, marks=pytest.mark.slow)])
def test_maps_with_a_size_keep_their_timeout(supervisor, gate, kind):
    """Also while it is being filled: the first call does not end by itself, and those behind it
    wait for room."""
    mapped = Aside(kind, enter, [gate] * 10, workers=1, size=1, timeout=0.1, supervisor=supervisor)
    with pytest.raises(ExecutionError) as caught:
        mapped.result()
    assert ({result.status for result in caught.value.results} <= {"cancelled"}
            and len(caught.value.results) < 10)
    gate.open()


def test_maps_whose_timeout_passes_while_they_submit_raise(supervisor, gate, monkeypatch):
    CALL_AT.patch(monkeypatch, oneshot, lambda supervisor, deadline, call: (call(), call)[1])
    with pytest.raises(ExecutionError, match="before all calls") as caught:
        Aside(tmap, enter, [gate] * 10, size=1, timeout=1e-9, supervisor=supervisor).result()
    assert not caught.value.results
    gate.open()


def test_maps_whose_items_come_after_the_timeout_raise(supervisor):
    def items():
        yield from range(512)
        threading.Event().wait(0.2)
        yield from range(512)

    with pytest.raises(ExecutionError):
        Aside(tmap, functions.double, items(), size=600, timeout=0.1,
              supervisor=supervisor).result()


def test_maps_after_the_timeout_finish_tasks_that_must_complete(supervisor):
    options = dict(workers=1, size=1, timeout=0.01, delay=0.05, supervisor=supervisor)
    assert tmap(functions.double, range(4), must_complete=True, **options) == (0, 2, 4, 6)
    assert (tmap(functions.double, range(4), opts=TaskOptions(must_complete=True), **options)
            == (0, 2, 4, 6))
    # Under load the timeout may be noticed late: no call starts by itself before that.
    options["delay"] = PATIENCE
    with pytest.raises(ExecutionError):
        tmap(functions.double, range(4), must_complete=True, on_timeout="cancel", **options)


def test_timeout_of_maps_includes_the_items(mapped, monkeypatch):
    left = []
    for kind in (ThreadQueue, ProcessQueue, AsyncQueue):
        def note(queue, timeout, progress, run=kind.run):
            left.append(timeout)
            return run(queue, PATIENCE, progress=progress)

        monkeypatch.setattr(kind, "run", note)

    def items():
        yield 1
        threading.Event().wait(0.02)

    assert mapped("double", items(), timeout=0.01) == (2,)
    assert left == [0]


def test_maps_return_values_of_detached_tasks(supervisor):
    with pytest.raises(ValueError):
        tmap(functions.fail, ["no"], detached=True, supervisor=supervisor)


def test_an_iterable_that_raises_leaves_nothing(supervisor):
    def items():
        yield 1
        raise KeyError("the items")

    with pytest.raises(KeyError, match="the items"):
        tmap(functions.double, items(), supervisor=supervisor)
    assert not supervisor.get_tasks()


def test_run_returns_the_value_of_the_coroutine():
    assert run(asyncio.sleep(0, "slept")) == "slept"


def test_the_queues_of_threads_load_no_asyncio():
    code = ("import sys; from atasker_like import ThreadQueue, tmap; print(tmap(abs, [-1]), "
            "{'asyncio', 'sqlite3', 'multiprocessing'} & set(sys.modules))")
    out = subprocess.run([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, timeout=30,
                         check=True).stdout.decode()
    assert out.strip() == "(1,) set()"


def test_maps_refuse_a_mode():
    with pytest.raises(InvalidTypeError, match="mode"):
        tmap(abs, [1], mode="infinite")
