"""Functions for pool processes that have a supervisor of their own."""
from atasker_like import TT_MP, as_completed, background_task, task_supervisor, wait_completed


@background_task
def double(number):
    return 2 * number


def square(number):
    return number * number


def wait(way, count):
    """Submit to the supervisor of this process, and wait in one of the ways there are."""
    if way == "map":
        return list(double.map(range(count)))
    tasks = [double(number) for number in range(count)]
    if way == "wait_completed":
        return wait_completed(tasks)
    if way == "as_completed":
        return sorted(task.value() for task in as_completed(tasks))
    if way == "task.wait":
        return [task.wait().value for task in tasks]
    return [task.value() for task in tasks]


def in_processes(count):
    task_supervisor.set_mp_pool(1)
    return wait_completed([task_supervisor.put_task(square, (number,), tt=TT_MP)
                           for number in range(count)])


def note(path):
    with open(path, "a") as file:
        file.write("x")


def leave(path, count):
    """Submit, and do not wait."""
    for _ in range(count):
        background_task(note)(path)
