"""Workers with an __init__ of their own, hooks, and methods that they override."""
import time

from atasker import TASK_HIGH, BackgroundEventWorker, BackgroundIntervalWorker, task_supervisor
from facts import fact, leave, until

events = []


class Device(BackgroundIntervalWorker):

    def __init__(self, port, *args, **kwargs):
        self.port = port
        kwargs['interval'] = 0.05
        kwargs.setdefault('priority', TASK_HIGH)
        super().__init__(*args, **kwargs)
        self.reads = 0

    def before_start(self):
        super().before_start()
        events.append('before_start')

    def after_start(self):
        super().after_start()
        events.append('after_start')

    def before_stop(self):
        super().before_stop()
        events.append('before_stop')

    def after_stop(self):
        super().after_stop()
        events.append('after_stop')

    def run(self, **kwargs):
        self.reads += 1
        if self.reads == 2:
            raise IOError('port %s' % self.port)

    def error(self):
        events.append('error')

    def locked(self):
        with self.start_stop_lock:
            return 'locked'


class Door(BackgroundEventWorker):

    opened = 0

    def open(self):
        self.trigger_threadsafe()

    def run(self, *args, **kwargs):
        self.opened += 1
        self.door = kwargs.get('door')


task_supervisor.start()
device = Device(8080, name='device')
fact('before', (device.port, device.name, device.priority, device.delay, device.keep_interval))
device.start()
fact('it reads on', until(lambda: device.reads > 4))
fact('lock', device.locked())
device.stop()
fact('events', events)
door = Door(o='front')
door.start(door='left')
door.open()
fact('opened', until(lambda: door.opened == 1))
fact('door', door.door)
door.stop()
fact('workers', (device._is_worker, door._is_worker))
leave(task_supervisor)
