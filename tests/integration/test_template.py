"""The template process, from which the pool processes of legacy programs are forked."""
import os
import signal

import pytest

from .test_exit import ended, program, run

pytestmark = [pytest.mark.slow, pytest.mark.gate,
              pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")]

LEGACY = """
    import os, signal, sys, threading
    import atasker_like.legacy
    atasker_like.legacy.install()
    from atasker import *

    def pool():
        return task_supervisor._supervisor_parts.pools.processes

    def values(function, count=4, **options):
        return wait_completed([background_task(function, tt=TT_MP, **options)()
                               for _ in range(count)], timeout=20)
"""


def test_processes_exist_when_the_pool_has_been_made_and_share_the_globals():
    status, lines, log = run(LEGACY + """
    factor = 10
    def scaled():
        return factor
    task_supervisor.set_mp_pool(pool_size=2, reserve_normal=1, reserve_high=0)
    print(pool().process_count(), pool().starter.template.pid != os.getpid())
    factor = 20
    task_supervisor.start()
    print(values(scaled), pool().process_count())
    task_supervisor.stop()
    """)
    assert (status, lines, log) == (0, ["3 True", "[10, 10, 10, 10] 3"], "")


def test_processes_of_create_mp_pool_run_its_initializer():
    status, lines, log = run(LEGACY + """
    ready = []
    def check():
        return ready
    task_supervisor.create_mp_pool(2, initializer=lambda word: ready.append(word), initargs=("go",))
    print(pool().process_count())
    task_supervisor.start()
    print(values(check, 2))
    task_supervisor.stop()
    """)
    assert (status, lines, log) == (0, ["2", "[['go'], ['go']]"], "")


def test_replacement_of_a_killed_process_is_forked_from_the_template():
    status, lines, log = run(LEGACY + """
    factor = 10
    def scaled():
        return factor
    def die():
        os.kill(os.getpid(), signal.SIGKILL)
    task_supervisor.set_mp_pool(pool_size=1)
    task_supervisor.start()
    template = pool().starter.template.pid
    factor = 20
    error = background_task(die, tt=TT_MP)().exception(20)
    print(type(error).__name__, error.signal, values(scaled),
          pool().starter.template.pid == template)
    task_supervisor.stop()
    """)
    assert (status, lines) == (0, ["ProcessDiedError 9 [10, 10, 10, 10] True"]), log


def test_exit_code_of_a_process_is_relayed():
    status, lines, log = run(LEGACY + """
    task_supervisor.set_mp_pool(pool_size=1)
    task_supervisor.start()
    error = background_task(os._exit, tt=TT_MP)(7).exception(20)
    print(error.exitcode)
    task_supervisor.stop()
    """)
    assert (status, lines) == (0, ["7"]), log


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_template_survives_a_signal_to_its_group(number):
    status, lines, log = run(LEGACY + f"""
    task_supervisor.set_mp_pool(pool_size=1)
    task_supervisor.start()
    values(os.getpid)
    os.kill(pool().starter.template.pid, signal.{number})
    os.kill(pool().pids()[0], signal.SIGKILL)
    print(len(set(values(os.getpid))), pool().starter.template.closed)
    task_supervisor.stop()
    """)
    assert (status, lines) == (0, ["1 False"]), log


def test_signal_that_the_program_ignores_is_ignored_in_its_processes():
    status, lines, log = run(LEGACY + """
    import functools

    def handler_of(number):
        return signal.getsignal(number).name

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, print)
    task_supervisor.set_mp_pool(pool_size=1)
    task_supervisor.start()
    for number in signal.SIGHUP, signal.SIGUSR1:
        print(*values(functools.partial(handler_of, number), 1))
    task_supervisor.stop()
    """)
    assert (status, lines) == (0, ["SIG_IGN", "SIG_DFL"]), log


def test_template_works_in_a_program_that_ignores_sigchld():
    status, lines, log = run(LEGACY + """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    task_supervisor.set_mp_pool(pool_size=1)
    task_supervisor.start()
    error = background_task(os._exit, tt=TT_MP)(7).exception(20)
    print(error.exitcode, len(set(values(os.getpid))))
    print(task_supervisor.stop(wait=10).complete)
    """)
    assert (status, lines) == (0, ["7 1", "True"]), log


def test_template_that_dies_is_replaced():
    status, lines, log = run(LEGACY + """
    task_supervisor.set_mp_pool(pool_size=1)
    task_supervisor.start()
    values(os.getpid)
    template = pool().starter.template.pid
    os.kill(template, signal.SIGKILL)
    os.waitpid(template, 0)
    os.kill(pool().pids()[0], signal.SIGKILL)
    print(len(set(values(os.getpid))), pool().starter.template.pid != template)
    print(task_supervisor.stop(wait=10).complete)
    """)
    assert (status, lines) == (0, ["1 True", "True"]), log
    assert "the template process" in log and "forked again" in log


def test_program_with_threads_is_forked_with_one_warning():
    status, lines, log = run(LEGACY + """
    gate = threading.Event()
    threading.Thread(target=gate.wait, name="listener", daemon=True).start()
    task_supervisor.set_mp_pool(pool_size=1)
    task_supervisor.start()
    print(values(os.getpid) is not None)
    task_supervisor.stop()
    """)
    assert (status, lines) == (0, ["True"])
    assert log.count("\n") == 1 and "a program with threads (listener)" in log


def test_no_guard_is_needed_and_the_program_is_not_run_again(tmp_path):
    path = tmp_path / "program.py"
    path.write_text("""
print("begins", flush=True)
from atasker import *
import os
def work(number):
    return number * 2
task_supervisor.set_mp_pool(pool_size=2)
task_supervisor.start()
print(wait_completed([background_task(work, tt=TT_MP)(n) for n in range(3)], timeout=20))
task_supervisor.stop()
""")
    process = program("""
    import sys
    from atasker_like.cli import main
    sys.exit(main(["exec", sys.argv[1]]))
    """, arguments=[str(path)])
    status, lines, log = ended(process)
    assert (status, lines, log) == (0, ["begins", "[0, 2, 4]"], "")


@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM"])
def test_nothing_outlives_the_program(number):
    process = program(LEGACY + f"""
    task_supervisor.set_mp_pool(pool_size=2)
    task_supervisor.start()
    values(os.getpid)
    print(pool().starter.template.pid, *pool().pids(), flush=True)
    os.kill(os.getpid(), signal.{number})
    threading.Event().wait()
    """)
    pids = [int(word) for word in process.stdout.readline().split()]
    status, lines, log = ended(process)
    assert len(pids) == 3 and status == -getattr(signal, number)
    for pid in pids:
        assert _ends(pid), f"process {pid} is still there"


def _ends(pid):
    """Wait until a process that is no child of this one has ended."""
    try:
        fd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    except ProcessLookupError:
        return True
    if fd is not None:
        import select

        try:
            return bool(select.select([fd], [], [], 10)[0])
        finally:
            os.close(fd)
    import threading

    never = threading.Event()
    for _ in range(1000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        never.wait(0.01)        # nothing tells before Python 3.9
    return False


def test_pool_that_is_made_again_is_forked_again():
    status, lines, log = run(LEGACY + """
    factor = 10
    def scaled():
        return factor
    task_supervisor.create_mp_pool(1)
    factor = 20
    task_supervisor.create_mp_pool(1)
    task_supervisor.start()
    print(values(scaled))
    task_supervisor.stop()
    factor = 30
    task_supervisor.start()
    print(values(scaled))
    task_supervisor.stop()
    """)
    assert (status, lines) == (0, ["[20, 20, 20, 20]", "[30, 30, 30, 30]"]), log
