"""A service: it calibrates qubits, one at a time, and answers how it goes at once.

    python3 docs/examples/laboratory.py /tmp/lab.sock

It ends with SIGTERM or Ctrl-C, when what it has accepted is done. See experiment.py for a client,
or try

    python3 -m atasker_like send /tmp/lab.sock Calibrate qubit=3 span=0.5
"""
import math
import signal
import sys
from dataclasses import dataclass
from typing import List

from atasker_like import TT_MP, service, task_supervisor


class Calibrate(service.Task):
    """Find the resonance of a qubit."""

    qubit: int
    span: float = 1.0

    def __post_init__(self):
        if not 0 <= self.qubit < 8:
            raise ValueError("there are qubits 0 to 7")


class Simulate(service.Task):
    """Compute what a calibration would find; it needs no instrument, so it waits for none."""

    qubits: List[int]
    parallel = True


class Progress(service.Task):
    """Ask how many calibrations have been done."""

    parallel = True


@dataclass
class Resonance:
    qubit: int
    frequency: float


lab = service.Service("lab")
done = []


@lab.handler(Calibrate)
def calibrate(task):
    """The instrument is one, and so is its handler: no lock is needed."""
    done.append(task.qubit)
    return Resonance(task.qubit, round(5 + task.span * math.sin(task.qubit), 6))


@lab.handler(Simulate, tt=TT_MP)
def simulate(task):
    return [Resonance(qubit, round(5 + math.sin(qubit), 6)) for qubit in task.qubits]


@lab.handler(Progress)
async def progress(task):
    return len(done)


def main(address):
    def request_stop(signum, frame):
        task_supervisor.stop(wait=False)

    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, request_stop)
    server = lab.serve(address)
    print("listening at", server.address, flush=True)
    task_supervisor.block()
    print("calibrated", len(done), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
