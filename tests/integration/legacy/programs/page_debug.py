"""Log messages come from the logger atasker; set_debug() asks for more."""
import logging

from atasker import Locker, set_debug, task_supervisor
from facts import fact, leave

names = []


class Keep(logging.Handler):

    def emit(self, record):
        names.append((record.name, record.levelname))


logger = logging.getLogger('atasker')
logger.setLevel(logging.WARNING)
logging.getLogger().addHandler(Keep())
lock = Locker(timeout=0.05, relative=False)


@lock
def locked():
    return 'locked'


with lock:
    locked()
fact('records', names)
set_debug()
fact('level is the application\'s', logger.level == logging.WARNING)
set_debug(False)
fact('level', logger.level == logging.WARNING)
