"""Keywords that are an option of the task and a parameter of the function."""
from functools import partial

import pytest

from atasker_like import AsyncQueue, InvalidTypeError, TaskOptions

from .functions import same


def connect(host, timeout=5, *, name=None, **more):
    return host, timeout, name, more


async def co_connect(host, timeout=5, *, name=None, **more):
    return host, timeout, name, more


@pytest.fixture
def bound(inside):
    queue = inside.make()
    task = inside.do(queue.task, co_connect if inside.is_async else connect)

    def call(made, *args, **keywords):
        """Make a call; return what the function was given, and the options of its task."""
        handle = inside.do(partial(made, *args, **keywords))
        inside.run(queue)
        return handle.value(), handle.task.options

    return task, call


@pytest.mark.parametrize("keyword", [{"timeout": 30}, {"name": "n"}])
def test_a_call_that_could_mean_either_is_refused_with_both_ways_out(inside, bound, keyword):
    task, call = bound
    [name] = keyword
    with pytest.raises(InvalidTypeError,
                       match=rf"^{name}= .*connect.*\.options\({name}=.*opts=TaskOptions\({name}="):
        call(task, "h", **keyword)
    with pytest.raises(InvalidTypeError,
                       match=rf"^{name}= .*connect.*opts=TaskOptions\({name}=.*functools.partial"):
        inside.do(partial(task.queue.submit, task.__wrapped__, "h", **keyword))
    if isinstance(task.queue, AsyncQueue):
        with pytest.raises(InvalidTypeError, match=rf"^{name}= "):
            inside.do(partial(task.queue.asubmit, task.__wrapped__, "h", **keyword))


def test_options_gives_the_option_and_leaves_keywords_to_the_function(bound):
    task, call = bound
    (host, timeout, name, more), options = call(task.options(timeout=30), "h", name="own",
                                                priority=7)
    assert (host, timeout, name, more) == ("h", 5, "own", {"priority": 7}) and options.timeout == 30
    (_, timeout, _, _), options = call(task.options(), "h", timeout=9)
    assert timeout == 9 and options.timeout is None


def test_opts_gives_the_option_and_leaves_named_keywords_to_the_function(bound):
    task, call = bound
    (_, timeout, _, more), options = call(task, "h", timeout=9, retries=1,
                                          opts=TaskOptions(timeout=30))
    assert (timeout, more) == (9, {}) and (options.timeout, options.retries) == (30, 1)
    with pytest.raises(InvalidTypeError, match="opts takes TaskOptions"):
        call(task, "h", opts=5)


def test_a_parameter_that_is_filled_is_not_meant(bound):
    task, call = bound
    (_, timeout, _, _), options = call(task, "h", 9, timeout=30)
    assert timeout == 9 and options.timeout == 30


def test_what_a_partial_has_filled_is_not_meant(inside):
    queue = inside.make()
    function = partial(co_connect if inside.is_async else connect, "h", timeout=9)
    handle = inside.do(partial(queue.submit, function, timeout=30))
    inside.run(queue)
    assert handle.value()[1] == 9 and handle.task.options.timeout == 30


@pytest.mark.parametrize("way", ["map", "group"])
def test_keyword_in_map_and_group_is_always_the_option(bound, inside, way):
    task, _ = bound
    for made in (inside.do(partial(getattr(task, way), ["a"], timeout=30)),
                 inside.do(partial(getattr(task.queue, way), task.__wrapped__, ["a"], timeout=30))):
        inside.run(task.queue)
        assert made[0].value()[1] == 5 and made[0].task.options.timeout == 30


def test_keywords_of_any_name_have_none_of_the_names(threads):
    queue = threads.make()
    handle = queue.task(lambda *args, **kwargs: kwargs)(1, priority=7, other=2)
    queue.run()
    assert handle.value() == {"other": 2} and handle.priority == 7


def test_a_parameter_named_opts_is_refused_too(threads):
    task = threads.make().task(lambda opts: opts)
    with pytest.raises(InvalidTypeError, match="^opts= "):
        task(opts=TaskOptions())
    handle = task.options(retries=1)(opts=5)
    threads.run(task.queue)
    assert handle.value() == 5 and handle.task.options.retries == 1


def test_options_of_a_bound_task_are_kept(threads):
    task = threads.make().task(priority=1)(same)
    handle = task.options(retries=2)(1)
    assert handle.priority == 1 and handle.task.options.retries == 2 and task.opts.retries == 0
    with pytest.raises(InvalidTypeError, match="retries"):
        task.options(retrys=1)
    threads.run(task.queue)
