"""Differences that the documentation names: of submitting."""
from atasker import TT_MP, background_task, co_mp_apply, task_supervisor, wait_completed
from facts import fact, leave, until


def outcome(call):
    """Return what a call returns, or the name of what it raises."""
    try:
        return call()
    except Exception as error:
        return type(error).__name__


async def co():
    return 5


def bare():
    seen.append(1)


seen = []
early = outcome(lambda: background_task(abs)(-1))
fact('a task that is submitted before start()', early is not None)
fact('mp_pool_size before there is a process pool', hasattr(task_supervisor, 'mp_pool_size'))
task_supervisor.set_thread_pool(pool_size=5)
task_supervisor.start()
fact('a coroutine without a loop', outcome(lambda: wait_completed(background_task(co)())))
fact('options that do not exist',
     outcome(lambda: wait_completed(background_task(abs, prioriti=1)(-1))))
fact('values of a wrong type',
     outcome(lambda: task_supervisor.put_task(abs, (-1,), delay='1') is not None))
fact('a priority that has no name',
     outcome(lambda: wait_completed(background_task(abs, priority=75)(-1))))
fact("create_aloop('__supervisor__')",
     outcome(lambda: task_supervisor.create_aloop('__supervisor__')))
loop = task_supervisor.create_aloop('mine').get_loop()
fact('background_task(f, loop=an_asyncio_loop)', type(background_task(co, loop=loop)()).__name__)
task = task_supervisor.put_task(bare)
fact('_task_id', until(lambda: seen, 2))
fact('own tasks (put_task)', task.completed.wait(2))
fact('a decorated function', type(background_task(abs)).__name__)
leave()
