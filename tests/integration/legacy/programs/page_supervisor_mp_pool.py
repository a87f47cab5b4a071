"""The process pool: made with the arguments of multiprocessing.Pool, put in place, or made by its
size."""
from multiprocessing import Pool

import remote
from atasker import TT_MP, TaskSupervisor, background_task, wait_completed
from facts import fact, leave

if __name__ == '__main__':
    first = TaskSupervisor(supervisor_id='first')
    fact('none at first', first.mp_pool)
    first.create_mp_pool(processes=2)
    first.set_mp_pool(pool_size=2)
    first.start()
    fact('created',
         wait_completed(background_task(remote.add, tt=TT_MP, supervisor=first)(1, 2), timeout=20))
    fact('apply', first.mp_pool.apply(remote.power, (3,)))
    fact('map', first.mp_pool.map(remote.power, [1, 2, 3]))
    fact('starmap', first.mp_pool.starmap(remote.power, [(2, 3), (3, 3)]))
    fact('imap', list(first.mp_pool.imap(remote.power, [4, 5])))
    fact('imap_unordered', sorted(first.mp_pool.imap_unordered(remote.power, [4, 5])))
    fact('apply_async', first.mp_pool.apply_async(remote.power, (2,), {'exponent': 5}).get(20))
    fact('map_async', first.mp_pool.map_async(remote.power, [6]).get(20))

    second = TaskSupervisor(supervisor_id='second')
    pool = Pool(processes=2)
    second.mp_pool = pool
    second.set_mp_pool(pool_size=2)
    second.start()
    fact('put in place', second.mp_pool is pool)
    fact('runs there',
         wait_completed(background_task(remote.add, tt=TT_MP, supervisor=second)(3), timeout=20))

    third = TaskSupervisor(supervisor_id='third')
    third.set_mp_pool(pool_size=1, reserve_normal=1, reserve_high=1)
    third.start()
    fact('by size',
         wait_completed(background_task(remote.add, tt=TT_MP, supervisor=third)(5), timeout=20))
    info = third.get_info(tt=False)
    fact('sizes', (info.mp_pool_size, info.mp_reserve_normal, info.mp_reserve_high))
    leave()
