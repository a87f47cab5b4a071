"""One fault, in a process of its own: ``python -m tests.faults.case KEY METHOD``. The verdict is
JSON on stdout.

It is written twice, before and after the pool is closed, since closing may hang; the last line
counts. Pool processes import this module as their main one, so it imports nothing before it is
asked to run.
"""
import sys


def main():
    import argparse
    import faulthandler
    import os
    import resource
    import threading
    from contextlib import suppress

    parser = argparse.ArgumentParser(prog="tests.faults.case")
    parser.add_argument("key")
    parser.add_argument("method")
    parser.add_argument("--side", default="ours")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--limit", type=float, default=None)
    parser.add_argument("--folder", required=True)
    arguments = parser.parse_args()

    # Whatever else writes to stdout must not come between the verdicts.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with suppress(OSError):
        # so that its processes can be told from all others; it may lead one already
        os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    from . import table

    # Up to Python 3.8 a thread ends by pthread_exit(), for which the C library opens a file, once.
    # Without any to be had it aborts the program, for a thread of any origin.
    first = threading.Thread(target=int)
    first.start()
    first.join()

    fault = table.find(arguments.key)
    faulthandler.dump_traceback_later(arguments.limit or fault.limit, exit=True)
    judged = Case(fault, arguments)
    judged.run(out)
    out.flush()
    if not judged.side.strict:
        # how it ends the interpreter is not asked of a peer: some hang there, too
        os._exit(0)
    faulthandler.cancel_dump_traceback_later()
    faulthandler.dump_traceback_later(30, exit=True)


class Case:
    """The scenario and its judgement."""

    def __init__(self, fault, arguments):
        import os

        from .implementations import SIDES
        from .oracle import Oracle, Surroundings, shared_memory, start_helpers
        from .scene import Scene

        self.fault, self.arguments = fault, arguments
        start_helpers(arguments.method)
        self.side = SIDES[arguments.side](arguments.method)
        # Of a peer, twice what pebble takes to end a frozen process; a case that hangs in several
        # places must still get to its verdict.
        patience = 20.0 if self.side.strict else 6.0
        self.oracle = Oracle(os.path.join(arguments.folder, "journal"))
        self.scene = Scene(
            self.side,
            self.oracle,
            arguments.folder,
            arguments.method,
            arguments.slow,
            arguments.seed,
            patience,
        )
        self.scene.minutes = arguments.minutes
        self.before, before = Surroundings(), shared_memory()
        self.look_at_memory = lambda: self.oracle.shared.update(shared_memory() - before)
        self.duplicated = 0
        self.skipped = None

    def run(self, out):
        from .implementations import Inexpressible
        from .scene import Abandoned

        oracle, scene = self.oracle, self.scene
        try:
            self.fault.scenario(scene)
        except Abandoned:
            pass
        except Inexpressible as reason:
            self.skipped = str(reason)
        except BaseException as error:
            import traceback

            traceback.print_exc()
            oracle.violate("X", "the scenario raised %s: %s" % (type(error).__name__, error))
        self.look_at_memory()
        scene.release()
        if scene.opened:
            oracle.judge_tasks(oracle.handles, scene.patience)
            try:
                scene.afterwards()
            except Exception as error:
                oracle.violate(
                    "D", "nothing can be submitted any more: %s: %s" % (type(error).__name__, error)
                )
            if self.side.counters("process") is not None:
                oracle.judge_counters(self.side.counters, scene.patience)
            self.look_at_memory()
            self.write(out)
            self.close()
            oracle.judge_again()
        scene.close()
        self.duplicated = oracle.judge_journal()
        if not self.side.strict:
            # of a peer, what it keeps as long as its objects live is not leaked
            self.side.native = None
            for handle in oracle.handles:
                handle.native = None
        oracle.judge_surroundings(self.before, scene.grace)
        self.write(out, final=True)

    def close(self):
        """Close the pool; what hangs there is ended."""
        import threading
        import traceback

        def close():
            try:
                self.side.close()
            except BaseException as error:
                traceback.print_exc()
                self.oracle.violate("X", "closing raised %s: %s" % (type(error).__name__, error))

        for close in (close, self.side.kill):
            closer = threading.Thread(target=close, daemon=True)
            closer.start()
            closer.join(self.scene.grace)
            if not closer.is_alive():
                return
            self.oracle.violate("A", "%s the pool did not return in %g s" % (
                "killing" if close == self.side.kill else "closing", self.scene.grace))

    def write(self, out, final=False):
        """Write the verdict so far."""
        import json

        oracle = self.oracle
        refused = sum(1 for handle in oracle.handles if handle.refused is not None)
        verdict = {
            "key": self.fault.key,
            "number": self.fault.number,
            "method": self.arguments.method,
            "side": self.arguments.side,
            "final": final,
            "injected": oracle.injected,
            "accepted": len(oracle.handles) - refused,
            "refused": refused,
            "lost": len(oracle.lost),
            "hung": oracle.hung,
            "duplicated": self.duplicated,
            "leaked": len(oracle.leaked),
            "skipped": self.skipped,
            "violations": oracle.summary(),
        }
        out.write(json.dumps(verdict) + "\n")
        out.flush()


if __name__ == "__main__":
    # By its package name, so that there is one Case, also in a process that was forked.
    from tests.faults.case import main as run

    sys.exit(run())
