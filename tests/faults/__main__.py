"""``python -m tests.faults``: run the table, print what was injected, lost, duplicated and leaked.
"""
import argparse
import json
import os
import platform
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic

from . import runner, table
from .implementations import PEERS, SIDES, missing

_COUNTS = ("injected", "lost", "duplicated", "leaked")

#: What differs between two cases that say the same.
_NUMBERS = re.compile(r"\d+")

#: Keeps a core busy until its parent process has ended.
_BURNER = (
    "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(100000))\n"
)


def main(arguments=None):
    options = _parser().parse_args(arguments)
    reason = missing(options.peer or "ours")
    if reason:
        print(reason, file=sys.stderr)
        return 2
    cases = _cases(options)
    if not cases:
        print("no row of the table is left by these options", file=sys.stderr)
        return 2
    side = options.peer or "ours"
    print("%s, Python %s, seed %d%s" % (side, platform.python_version(), options.seed,
                                        ", all cores busy" if options.busy else ""))
    print("%-44s%9s%9s%11s%9s%9s  %s" % ("fault", *_COUNTS, "seconds", ""))
    verdicts = []
    begin = monotonic()
    with _burning(options.busy), ThreadPoolExecutor(options.jobs) as executor:
        try:
            waiting = []
            for fault, methods in cases:
                turns = [
                    (method, side, options.seed + turn)
                    for turn in range(options.repeat)
                    for method in methods
                ]
                waiting.append(
                    (
                        fault,
                        [
                            executor.submit(
                                runner.run_case, fault, *turn, options.slow, options.minutes
                            )
                            for turn in turns
                        ],
                    )
                )
            for fault, futures in waiting:
                found = [future.result() for future in futures]
                verdicts += found
                _show(fault, found)
        except BaseException:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()
            runner.end_all()
            raise
    sums = [sum(verdict[name] for verdict in verdicts) for name in _COUNTS]
    print("%-44s%9d%9d%11d%9d%9.1f" % ("in all", *sums, monotonic() - begin))
    wrong = [verdict for verdict in verdicts if not verdict["ok"]]
    print("%d case(s), %d of them with something that does not hold" % (len(verdicts), len(wrong)))
    if options.json:
        with open(options.json, "w") as file:
            json.dump(
                {
                    "side": side,
                    "python": platform.python_version(),
                    "seed": options.seed,
                    "slow": options.slow,
                    "busy": options.busy,
                    "verdicts": verdicts,
                },
                file,
                indent=1,
            )
    return 1 if wrong else 0


def _parser():
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--rows", default="", help="numbers of rows: 1,5-9")
    parser.add_argument(
        "--start-method", choices=table.ALL, help="only this one (peers: default: forkserver)"
    )
    parser.add_argument(
        "--peer",
        choices=PEERS,
        help="run against a peer, or our ProcessExecutor, what its interface can express",
    )
    parser.add_argument(
        "--slow", action="store_true", help="the long forms, and the rows that are slow in any form"
    )
    parser.add_argument(
        "--busy",
        action="store_true",
        help="with as many busy processes beside it as there are cores",
    )
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument(
        "--minutes", type=float, default=1.0, help="how long the row of everything at once goes on"
    )
    parser.add_argument(
        "--repeat", type=int, default=1, help="run each case so many times, with successive seeds"
    )
    parser.add_argument("--jobs", type=int, default=1, help="cases that run at the same time")
    parser.add_argument("--json", metavar="FILE", help="write the verdicts there")
    return parser


def _cases(options):
    """The rows that are wanted, with the start methods of each."""
    cases = []
    for fault in table.select(options.rows):
        if (
            options.peer
            and options.peer not in fault.peers
            or fault.slow
            and not (options.slow or options.rows)
        ):
            continue
        methods = fault.methods
        wanted = options.start_method
        if wanted is None and options.peer and not SIDES[options.peer].strict:
            wanted = "forkserver"
        if wanted and methods != table.NONE:
            methods = tuple(method for method in methods if method == wanted)
        if methods:
            cases.append((fault, methods))
    return cases


def _show(fault, verdicts):
    """Print one row, and below it what does not hold."""
    sums = [sum(verdict[name] for verdict in verdicts) for name in _COUNTS]
    seconds = sum(verdict["seconds"] for verdict in verdicts)
    name = "%2d  %s" % (fault.number, fault.name[:38])
    mark = "" if all(verdict["ok"] for verdict in verdicts) else "<--"
    print("%-44s%9d%9d%11d%9d%9.1f  %s" % (name, *sums, seconds, mark))
    said = {}
    for reason in sorted({verdict["skipped"] for verdict in verdicts if verdict["skipped"]}):
        print("      not expressible: " + reason)
    for verdict in verdicts:
        for violation in verdict["violations"]:
            said.setdefault(_NUMBERS.sub("#", violation), []).append((verdict["method"], violation))
    for same in said.values():
        methods = ", ".join(sorted({method for method, _ in same}))
        print(
            "      %-10s  %s%s"
            % (methods, same[0][1], " [%d times]" % len(same) if len(same) > 1 else "")
        )
    sys.stdout.flush()


@contextmanager
def _burning(busy):
    burners = [
        subprocess.Popen([sys.executable, "-c", _BURNER])
        for _ in range((os.cpu_count() or 1) if busy else 0)
    ]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


if __name__ == "__main__":
    sys.exit(main())
