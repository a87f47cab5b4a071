"""Differences that the documentation names: of the hooks of workers and supervisors."""
import threading

from atasker import (BackgroundIntervalWorker, BackgroundWorker, TaskSupervisor, background_task,
                     background_worker, task_supervisor, wait_completed)
from facts import fact, leave, until

called = []


def outcome(call):
    """Return True if a call returns, or the name of what it raises."""
    try:
        call()
    except Exception as error:
        return type(error).__name__
    return True


class Raises(BackgroundIntervalWorker):

    def __init__(self, hook):
        super().__init__(interval=0.05)
        self.hook = hook

    def run(self, **kwargs):
        pass

    def raise_in(self, hook):
        if hook == self.hook:
            self.hook = None
            raise KeyError(hook)

    def before_stop(self):
        self.raise_in('before_stop')

    def send_stop_events(self):
        super().send_stop_events()
        self.raise_in('send_stop_events')

    def after_stop(self):
        self.raise_in('after_stop')


class Marks(BackgroundWorker):

    def run(self, **kwargs):
        running.set()
        go_on.wait(20)

    def mark_started(self):
        called.append('mark_started')
        super().mark_started()

    def mark_stopped(self):
        called.append('mark_stopped')
        super().mark_stopped()

    def wait_until_stop(self):
        called.append('wait_until_stop')
        return super().wait_until_stop()


class Supervisor(TaskSupervisor):

    def set_thread_pool(self, **kwargs):
        called.append('set_thread_pool')
        super().set_thread_pool(**kwargs)

    def get_aloop(self, *args, **kwargs):
        called.append('get_aloop')
        return super().get_aloop(*args, **kwargs)


async def co():
    return 5


task_supervisor.start()
outcomes = []
for hook in ('before_stop', 'send_stop_events', 'after_stop'):
    worker = Raises(hook)
    worker.start()
    outcomes.append(outcome(worker.stop))
fact('an exception in before_stop, send_stop_events or after_stop', outcomes)

running, go_on = threading.Event(), threading.Event()
marks = Marks()
marks.start()
running.wait(20)
go_on.set()
marks.stop()
until(marks.is_stopped)
fact('mark_started, mark_stopped and wait_until_stop of a subclass of a worker',
     [name for name in called if name.startswith(('mark', 'wait'))])

called.clear()
supervisor = Supervisor('mine')
supervisor.start()
supervisor.create_aloop('loop')
wait_completed(background_task(co, loop='loop', supervisor=supervisor)())
fact('get_aloop and set_thread_pool of a subclass of a supervisor', called)

seen = []


def new_run(**kwargs):
    seen.append('new')


@background_worker(interval=0.05)
def replaced(**kwargs):
    seen.append('old')


replaced.start()
until(lambda: seen)
replaced.run = new_run
fact('worker.run = f while the worker runs', until(lambda: 'new' in seen, 1))

answers = []        # not seen, to which the worker still adds
wait_completed(background_task(abs, callback=answers.append)(-1))
wait_completed(background_task(co, loop='loop', callback=answers.append, supervisor=supervisor)())
fact('callback= of a task in a thread or a coroutine', until(lambda: len(answers) == 2, 1))
leave()
