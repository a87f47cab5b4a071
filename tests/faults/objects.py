"""Rows 50 to 53: callables and exceptions that mislead, supervisors that are dropped, waits that
cannot end."""
import gc
import weakref
from unittest import mock

from . import work
from .fixtures import Log, within
from .oracle import settled


class Answers:
    """A callable that has every attribute."""

    def __call__(self, value):
        return value

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)      # as mocks do; pickle and copy ask for these
        return self


def named_like_ours(value):
    return value


#: Attributes that decorated functions of this library have, or had.
for _name in ("is_bound_task", "_spec", "options", "spec", "task", "supervisor", "_extra", "value"):
    setattr(named_like_ours, _name, True)


# -- 50 ------------------------------------------------------------------------------------------


def misleading_callables(scene):
    """A callable that answers to every attribute, a mock, and one with our names run like any
    function."""
    scene.open()
    native = scene.native
    calls = [("thread", mock.Mock(return_value=7)), ("thread", mock.MagicMock(return_value=7))]
    calls += [
        (kind, call) for kind in ("thread", "process") for call in (Answers(), named_like_ours)
    ]
    from atasker_like import TT_MP, TT_THREAD

    for kind, call in calls:
        scene.injected()
        task = []
        done = within(scene.patience, lambda call=call, kind=kind, task=task: task.append(
            native.put_task(call, (7,), tt=TT_MP if kind == "process" else TT_THREAD)))
        if scene.check(done, "submitting %s in a %s did not return" % (type(call).__name__, kind)):
            scene.adopt(task[0], kind, expected=(7,))


# -- 51 ------------------------------------------------------------------------------------------


class Unshowable(Exception):
    """Cannot be shown in any way."""

    def __str__(self):
        raise RuntimeError("no str")

    __repr__ = __str__


class UnshowableAnywhere(Unshowable):
    """Cannot be pickled either."""

    def __reduce__(self):
        raise RuntimeError("no reduce")


def raise_unshowable(anywhere):
    raise UnshowableAnywhere() if anywhere else Unshowable()


def unshowable_exceptions(scene):
    """However one looks at the task, the text is there, and hooks and waiters are told once."""
    scene.open()
    for kind in ("thread", "process", "coroutine"):
        for anywhere in (False, True):
            victim = scene.inject(raise_unshowable, anywhere, kind=kind)
            told = []
            victim.native.add_done_callback(told.append)
            scene.wait(victim)
            looks = [repr, str, lambda task: repr(task.wait(0)), lambda task: str(task.wait(0)),
                     lambda task: task.exception(0), lambda task: task.state]
            for look in looks:
                try:
                    look(victim.native)
                except Exception as error:
                    scene.check(False, "looking at it raised %s" % type(error).__name__, victim)
            scene.check(victim.outcome is not None and victim.outcome[0] == "failed",
                        "did not fail", victim)
            scene.check(settled(lambda told=told: told, scene.patience) and len(told) == 1,
                        "its hook was called %d times" % len(told), victim)


# -- 52 ------------------------------------------------------------------------------------------


def dropped(scene):
    """Supervisors with idle pools that nothing refers to are gone, with threads and processes."""
    scene.open()            # so that the case has a pool to judge afterwards
    scene.succeeded(*scene.good(1), *scene.good(1, "thread"))
    refs, pids = [], []
    for number in range(scene.count(20, 60)):
        scene.injected()
        side = type(scene.side)(scene.method)
        side.open(1, threads=1)
        for kind in ("thread", "process") if number < 4 else ("thread",):
            task = side.submit(kind, work.echo, (number,), {})
            scene.check(
                task.value(scene.patience) == number, "supervisor %d gave no value" % number
            )
            del task
        pids += side.pids()
        refs.append(weakref.ref(side.native))
        del side

    def gone():
        gc.collect()
        return not any(ref() is not None for ref in refs)

    scene.check(settled(gone, scene.patience), "%d supervisors are left" % sum(
        ref() is not None for ref in refs))
    for pid in pids:
        scene.check(scene.gone(pid), "process %d is left" % pid)


# -- 53 ------------------------------------------------------------------------------------------


def waits_that_cannot_end(scene):
    """For itself and in a circle in threads; for the own loop in a coroutine: each says so at once.
    """
    import threading

    from atasker_like import WaitDeadlockError, background_task

    scene.open(threads=4)
    native = scene.native
    ready, tasks = threading.Event(), {}

    def for_itself():
        ready.wait(scene.patience)
        return tasks["itself"].value()

    def for_other(name):
        ready.wait(scene.patience)
        return tasks[name].value()

    async def blocks_its_loop():
        handle = scene.adopt(inner(), "coroutine", expected=(1,))
        return handle.native.value()

    inner = background_task(_one, supervisor=native)
    # put_task() does not fit: mark_task_completed() may end such a task, so no wait of it is
    # certain.
    tasks["itself"] = background_task(for_itself, supervisor=native)()
    other = background_task(for_other, supervisor=native)
    tasks["first"], tasks["second"] = other("second"), other("first")
    ready.set()
    tasks["loop"] = background_task(blocks_its_loop, supervisor=native)()
    with Log():
        for name, task in tasks.items():
            scene.injected()
            handle = scene.adopt(task, "coroutine" if name == "loop" else "thread")
            scene.wait(handle)
            state, error = handle.outcome or (None, None)
            scene.check(state == "failed" and isinstance(error, WaitDeadlockError),
                        "%s: %s %r" % (name, state, error), handle)


async def _one():
    return 1
