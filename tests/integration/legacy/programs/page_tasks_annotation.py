"""All arguments reach the function as they are."""
from atasker import background_task, task_supervisor, wait_completed
from facts import fact, leave

task_supervisor.start()


@background_task
def mine(*args, **kwargs):
    return args, sorted(kwargs.items())


fact('arguments',
     wait_completed(mine(1, 'two', x=3, name=4, priority=5, delay=6, tt=7, callback=8, timeout=9)))


class Account:

    def __init__(self, balance):
        self.balance = balance

    def add(self, amount):
        self.balance += amount
        return self.balance


account = Account(5)
fact('a method', wait_completed(background_task(account.add)(10)))
fact('a builtin', wait_completed(background_task(sum)([1, 2, 3])))
fact('a lambda', wait_completed(background_task(lambda x: x + 1)(1)))
task = mine()
fact('wait', (task.completed.wait(10), task.completed.is_set(), task.started.is_set()))
fact('states', (task.is_started(), task.is_completed(), task.status))
leave(task_supervisor)
