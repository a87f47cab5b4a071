"""A process task that a coroutine awaits."""
import remote
from atasker import TASK_HIGH, co_mp_apply, task_supervisor
from facts import fact, leave

if __name__ == '__main__':
    task_supervisor.set_mp_pool(pool_size=1)
    task_supervisor.start()
    aloop = task_supervisor.create_aloop('mine')

    async def awaits(seconds, **options):
        return await co_mp_apply(remote.later, **options)

    fact('awaited', aloop.run(awaits(0.3)))
    fact('with a priority', aloop.run(awaits(0.3, priority=TASK_HIGH)))
    fact('with a delay', aloop.run(awaits(0.3, delay=0.1)))
    leave(task_supervisor)
