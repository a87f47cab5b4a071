"""A program with a screen: a worker draws, tasks fail, and nothing but the program writes to the
terminal."""
import os
import pty
import re
import select
import time

os.environ['TERM'] = 'vt100'
pid, terminal = pty.fork()
if pid:
    from facts import fact

    output = b''
    end = time.time() + 30
    while time.time() < end:
        ready = select.select([terminal], [], [], 1)[0]
        if ready:
            try:
                data = os.read(terminal, 65536)
            except OSError:
                break
            if not data:
                break
            output += data
    status = os.waitpid(pid, 0)[1]
    text = output.decode('ascii', 'replace')
    fact('status', status)
    fact('screen', sorted(set(re.findall('drawn [0-9]', text))))
    fact('title', 'A screen' in text)
    fact('anything else', sorted(set(re.findall('atasker|Traceback|Error|warning', text))))
else:
    import curses
    import logging

    logging.basicConfig(level=logging.DEBUG)
    logging.getLogger('asyncio').setLevel(100)
    logging.getLogger('atasker').setLevel(100)

    from atasker import Locker, background_task, background_worker, task_supervisor

    class Screen:

        drawn = 0

        def __init__(self):
            self.window = curses.initscr()
            curses.noecho()
            self.lock = Locker(mod='screen', timeout=5)
            self.window.addstr(0, 0, 'A screen')

        def draw(self):
            with self.lock:
                self.drawn += 1
                self.window.addstr(1 + self.drawn, 0, 'drawn %d' % self.drawn)
                self.window.refresh()

    screen = Screen()
    try:
        task_supervisor.start()
        task_supervisor.create_aloop('screen', default=True)

        @background_worker(interval=0.1)
        def draw(**kwargs):
            screen.draw()
            return screen.drawn < 4

        @background_worker(interval=0.05, on_error=lambda: None)
        async def broken(**kwargs):
            raise ValueError('on purpose')

        draw.start()
        broken.start()
        background_task(lambda: 1 / 0)()
        draw.wait_until_stop()
        broken.stop()
        task_supervisor.stop(wait=3)
    finally:
        curses.endwin()
    os._exit(0)
