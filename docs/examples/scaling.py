"""Estimate pi on this machine, or with an address as the argument on a Dask cluster."""
import random
import sys

from atasker_like import TT_MP, background_task, task_supervisor


def hits(seed, throws=20_000):
    dice = random.Random(seed)
    return sum(dice.random() ** 2 + dice.random() ** 2 < 1 for _ in range(throws))


def estimate(parts=40):
    counts = background_task(hits, tt=TT_MP).map(range(parts))
    return 4 * sum(counts) / (parts * 20_000)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        from distributed import Client

        task_supervisor.mp_pool = Client(sys.argv[1]).get_executor()    # the one line
    print(f"{estimate():.3f}")
    task_supervisor.stop()
