"""Pool processes of a program that blocks signals."""
import os
import subprocess
import sys
import textwrap

import pytest

from tests.support import PATIENCE, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.gate]


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_ends_of_processes_are_seen_while_sigchld_is_blocked(tmp_path, method):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(f"""
        import os, signal
        from atasker_like import TT_MP, background_task, task_supervisor

        def is_blocked():
            return signal.SIGCHLD in signal.pthread_sigmask(signal.SIG_BLOCK, ())

        if __name__ == "__main__":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
            task_supervisor.set_mp_pool(pool_size=1, start_method={method!r})
            print(background_task(os._exit, tt=TT_MP)(7).exception(30).exitcode)
            print(background_task(is_blocked, tt=TT_MP)().value(30), is_blocked())
            task_supervisor.stop()
    """))
    ended = subprocess.run([sys.executable, str(program)], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=3 * PATIENCE, text=True,
                           env=dict(os.environ, PYTHONPATH=ROOT))
    assert (ended.returncode, ended.stdout) == (0, "7\nFalse True\n"), ended.stderr
