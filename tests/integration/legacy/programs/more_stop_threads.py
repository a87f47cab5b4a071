"""The thread that stops a worker or a supervisor calls the hooks, and may hold locks of theirs."""
import threading

from atasker import (BackgroundEventWorker, BackgroundIntervalWorker, BackgroundQueueWorker,
                     BackgroundWorker, TaskSupervisor, g, task_supervisor)
from facts import fact, leave, until

TaskSupervisor().block()
fact('block() before the start', 'returns')

lock = threading.RLock()
main = threading.current_thread()


class Hooks:

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []
        self.runs = 0

    def note(self, hook):
        with lock:
            self.seen.append((hook, threading.current_thread() is main))

    def before_stop(self):
        super().before_stop()
        self.note('before_stop')

    def send_stop_events(self):
        self.note('send_stop_events')
        super().send_stop_events()

    def after_stop(self):
        super().after_stop()
        self.note('after_stop')
        self.closed = self.is_active(), self.is_stopped(), g.get('connection', 'none')


class Plain(Hooks, BackgroundWorker):

    def run(self, **kwargs):
        self.runs += 1
        threading.Event().wait(0.01)


class Interval(Hooks, BackgroundIntervalWorker):

    def run(self, **kwargs):
        self.runs += 1


class Queue(Hooks, BackgroundQueueWorker):

    def run(self, item, **kwargs):
        self.runs += 1


class Event(Hooks, BackgroundEventWorker):

    def run(self, **kwargs):
        self.runs += 1
        self.thread = threading.current_thread()
        return self.o

    def after_stop(self):
        super().after_stop()
        self.same = threading.current_thread() is self.thread


task_supervisor.start()
task_supervisor.poll_delay = 0.01
g.set('connection', 'open')
for kind, options in ((Plain, {}), (Interval, {'interval': 0.05}), (Queue, {}), (Event, {})):
    for wait in (True, False):
        worker = kind(**options)
        worker.start()
        if kind is Queue:
            worker.put_threadsafe(1)
        if kind is Event:
            worker.trigger_threadsafe()
        until(lambda: worker.runs)
        with lock:
            worker.stop(wait=wait)
            fact('hooks of %s, wait=%s' % (kind.__name__, wait), worker.seen)
        if wait:
            fact('in after_stop() of ' + kind.__name__, worker.closed)

itself = Event(o=False)
itself.start()
itself.trigger_threadsafe()
until(lambda: hasattr(itself, 'same'))
fact('hooks of a worker that stops itself', (itself.seen, itself.closed[:2], itself.same))


class Scheduler:

    def stop(self, wait=True):
        with lock:
            fact('stop() of a scheduler', (wait, threading.current_thread() is main))


supervisor = TaskSupervisor()
supervisor.start()
worker = Interval(interval=0.05, supervisor=supervisor)
worker.start()
supervisor.register_sync_scheduler(Scheduler())
with lock:
    supervisor.stop()
    fact('hooks in a stop of the supervisor', (worker.seen, worker.closed))
leave(task_supervisor)
