"""amap, tmap, pmap, run."""
import asyncio
import subprocess
import sys

import pytest

from atasker_like import ExecutionError, InvalidTypeError, amap, pmap, run, tmap

from . import functions


@pytest.fixture(params=["tmap", pytest.param("pmap", marks=pytest.mark.slow), "amap"])
def mapped(request, supervisor):
    """Each of the three, as a function for threads, with the name of a function of its kind."""
    if request.param == "amap":
        def call(function, items, **options):
            return run(amap(getattr(functions, f"co_{function}"), items, supervisor=supervisor, **options))
    else:
        def call(function, items, **options):
            return {"tmap": tmap, "pmap": pmap}[request.param](getattr(functions, function), items, supervisor=supervisor, **options)
    return call


def test_values_in_order(mapped):
    assert mapped("double", [3, 1, 2]) == (6, 2, 4)
    assert mapped("add", [(1, 2), {"a": 3, "b": 4}, 5]) == (3, 7, 5)
    assert mapped("double", []) == ()


def test_options_of_the_queue_and_of_its_tasks(mapped):
    assert mapped("succeed_at", [2, 2], workers=1, retries=1, name="n", timeout=20) == (2, 2)


def test_a_failure(mapped):
    with pytest.raises(ExecutionError, match="number 1") as caught:
        mapped("fail_at", [(0, 1), (1, 1), (2, 1)])
    assert [result.status for result in caught.value.results] == ["failed"]


def test_the_first_failure_ends_it_if_asked(mapped):
    with pytest.raises(ExecutionError) as caught:
        mapped("fail_at", [(n, 0) for n in range(2000)], workers=1, fail_policy="fail_first")
    assert {result.status for result in caught.value.results} == {"failed", "cancelled"}


def test_an_unknown_option(mapped):
    with pytest.raises(InvalidTypeError, match="did you mean 'retries'"):
        mapped("double", [1], retrys=2)


def test_progress(mapped, capsys):
    mapped("double", [1, 2], progress=True)
    assert "2/2 100%" in capsys.readouterr().err


def test_a_bounded_queue(supervisor):
    assert tmap(functions.double, range(50), workers=2, size=3, supervisor=supervisor) == tuple(range(0, 100, 2))


def test_detached_tasks_too(supervisor):
    with pytest.raises(ValueError):
        tmap(functions.fail, ["no"], detached=True, supervisor=supervisor)


def test_an_iterable_that_raises_leaves_nothing(supervisor):
    def items():
        yield 1
        raise KeyError("the items")

    with pytest.raises(KeyError, match="the items"):
        tmap(functions.double, items(), supervisor=supervisor)
    assert not supervisor.get_tasks()


def test_run():
    assert run(asyncio.sleep(0, "slept")) == "slept"


def test_the_queues_of_threads_load_no_asyncio():
    code = ("import sys; from atasker_like import ThreadQueue, tmap; print(tmap(abs, [-1]), "
            "{'asyncio', 'sqlite3', 'multiprocessing'} & set(sys.modules))")
    out = subprocess.run([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, timeout=30, check=True).stdout.decode()
    assert out.strip() == "(1,) set()"


def test_one_call_has_no_mode():
    with pytest.raises(InvalidTypeError, match="mode"):
        tmap(abs, [1], mode="infinite")
