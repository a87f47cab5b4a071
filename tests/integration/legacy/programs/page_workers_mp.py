"""A static run() goes to the process pool, its result to process_result(), which can stop the
worker."""
import os

from atasker import task_supervisor
from facts import fact, leave, until
from process_worker import Count, Square

if __name__ == '__main__':
    task_supervisor.set_mp_pool(pool_size=2)
    task_supervisor.start()
    task_supervisor.poll_delay = 0.01
    square = Square(o=5)
    square.start()
    for number in range(1, 6):
        square.put_threadsafe(number)
    fact('it stops itself', until(lambda: not square.is_active()))
    fact('results', [result[0] for result in square.results])
    fact('in another process', all(result[1] != os.getpid() for result in square.results))
    fact('o', square.results[0][2:])
    count = Count(interval=0.05)
    count.start()
    fact('an interval worker runs there', until(lambda: count.total > 3))
    fact('in the process pool', bool(count._run_in_mp))
    count.stop()
    leave(task_supervisor)
