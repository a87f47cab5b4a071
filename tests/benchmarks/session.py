"""The subprocess of one side: opens it, says that it is ready, then runs a round for every line on
stdin.

Pool processes import this module again as their ``__main__``, so it imports next to nothing at the
top.
"""

import importlib
import json
import os
import sys
import traceback
from typing import Any, Dict, Iterator


def main() -> None:
    import faulthandler
    import signal

    # The answers keep stdout for themselves: what a library prints goes to stderr.
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    if hasattr(signal, 'SIGUSR1'):
        faulthandler.register(signal.SIGUSR1, all_threads=True)  # the harness asks where we hang

    def answer(message: Dict[str, Any]) -> None:
        answers.write(json.dumps(message) + '\n')
        answers.flush()

    request = json.loads(sys.argv[1])
    side = None
    try:
        from tests.benchmarks.peers import open_side
        side = open_side(request['side'], request['params'])
        module, _, name = request['measure'].partition(':')
        measure = getattr(importlib.import_module('tests.benchmarks.' + module), name)
        rounds: Iterator[Dict[str, Any]] = measure(side, request['params'])
        answer({'ok': next(rounds)})  # a measure yields once when it has warmed up
        for _ in sys.stdin:
            answer({'ok': next(rounds)})
    except BaseException as error:  # reported to the harness, which decides
        traceback.print_exc()
        answer({'error': '{}: {}'.format(type(error).__name__, error)})
        os._exit(1)
    if request['params'].get('abandon'):
        os._exit(0)  # a million queued tasks are not worth draining
    side.close()


if __name__ == '__main__':
    main()
