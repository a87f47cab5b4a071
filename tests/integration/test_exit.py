"""What keeps a program alive after its main thread, and how supervisors end with the
interpreter."""
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tests.support import PATIENCE, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.gate]


def program(text, arguments=()):
    """Start a program of its own."""
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(text), *arguments],
                            stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True,
                            env=dict(os.environ, PYTHONPATH=ROOT))


def ended(process):
    """Return the exit status and what the program wrote."""
    try:
        out, err = process.communicate(timeout=3 * PATIENCE)
    finally:
        process.kill()
        process.wait()
    return process.returncode, out.splitlines(), err


def run(text):
    return ended(program(text))


SERVICE = """
    import logging, sys
    from atasker_like import background_worker, task_supervisor
    logging.basicConfig(level=logging.INFO)

    @background_worker(interval=0.02)
    def poll(runs=[]):
        runs.append(1)
        # print() writes the end of the line by itself, and the other thread may come in between.
        sys.stdout.write("poll\\n")
        sys.stdout.flush()
        return len(runs) < 3
"""


def test_worker_of_a_started_supervisor_runs_after_the_main_thread_has_ended():
    status, lines, log = run(SERVICE + """
    task_supervisor.start()
    poll.start()
    sys.stdout.write("main ends\\n")
    sys.stdout.flush()
    """)
    # The first run may come before the last line of the main thread.
    assert (status, sorted(lines)) == (0, ["main ends"] + ["poll"] * 3)
    assert log.count("keeps the program alive: _background_worker_poll") == 1


def test_worker_of_a_supervisor_that_was_not_started_ends_with_the_main_thread():
    status, lines, log = run(SERVICE + """
    poll.start()
    """)
    assert status == 0 and "keeps the program alive" not in log


@pytest.mark.parametrize("how", ["start(daemon=True)", "daemon = True; task_supervisor.start()"])
def test_worker_of_a_daemon_supervisor_ends_with_the_main_thread(how):
    status, lines, log = run(SERVICE + f"""
    task_supervisor.{how}
    poll.start()
    """)
    assert status == 0 and "keeps the program alive" not in log


def test_ctrl_c_stops_the_workers_that_keep_a_program_alive():
    process = program("""
    from atasker_like import background_worker, task_supervisor

    @background_worker(interval=0.02)
    def poll():
        print("poll", flush=True)

    task_supervisor.start()
    poll.start()
    """)
    assert process.stdout.readline() == "poll\n"
    process.send_signal(signal.SIGINT)
    status, lines, log = ended(process)
    assert status == 0 and "Traceback" not in log


def test_jobs_keep_a_started_supervisor_alive():
    status, lines, log = run("""
    from atasker_like import task_supervisor

    async def job():
        print("job", flush=True)

    task_supervisor.start()
    task_supervisor.create_async_job(target=job, interval=0.02, number=3)
    """)
    assert (status, lines) == (0, ["job"] * 3), log


def test_threads_of_the_application_submit_after_the_main_thread_has_ended():
    status, lines, log = run("""
    import threading
    from atasker_like import background_task, task_supervisor

    def serve():
        main.join()
        print(background_task(abs)(-3).value(10))

    task_supervisor.start()
    main = threading.main_thread()
    threading.Thread(target=serve).start()
    """)
    assert (status, lines) == (0, ["3"]), log


def test_threads_of_the_application_are_refused_if_the_supervisor_was_not_started():
    status, lines, log = run("""
    import threading
    from atasker_like import SupervisorStoppedError, background_task, task_supervisor

    def serve():
        main.join()
        for submit in (lambda: background_task(abs)(-3), task_supervisor.start):
            try:
                submit()
            except SupervisorStoppedError as error:
                print(error)

    background_task(abs)(1).value()
    main = threading.main_thread()
    threading.Thread(target=serve).start()
    """)
    assert status == 0 and len(lines) == 2, log
    assert all("the main thread has ended" in line and "task_supervisor.start()" in line
               for line in lines)


def test_held_worker_uses_executors_that_are_imported_after_the_main_thread_has_ended():
    status, lines, log = run("""
    import asyncio, threading
    from atasker_like import background_worker, task_supervisor

    @background_worker(interval=0.02)
    async def poll(runs=[]):
        if threading.main_thread().is_alive() and not held.is_set():
            return
        from concurrent.futures import ThreadPoolExecutor
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as executor:
            print(executor.submit(abs, -1).result(), await loop.run_in_executor(None, abs, -2),
                  bool(await loop.getaddrinfo("127.0.0.1", 80)), flush=True)
        return False

    held = threading.Event()
    plain = task_supervisor._supervisor_parts.state.wait_for_release
    def wait(holds_exit):
        held.set()
        plain(holds_exit)
    task_supervisor._supervisor_parts.state.wait_for_release = wait
    task_supervisor.start()
    poll.start()
    """)
    assert (status, lines) == (0, ["1 2 True"]), log


def test_legacy_program_lives_until_the_supervisor_is_stopped():
    status, lines, log = run("""
    import atasker_like.legacy
    atasker_like.legacy.install()
    import threading
    from atasker import task_supervisor

    task_supervisor.start()
    plain = task_supervisor._supervisor_parts.state.wait_for_release

    def wait(holds_exit):
        print("held", flush=True)
        threading.Thread(target=task_supervisor.stop, daemon=True).start()
        plain(holds_exit)

    task_supervisor._supervisor_parts.state.wait_for_release = wait
    """)
    assert (status, lines) == (0, ["held"]), log


@pytest.mark.parametrize("kind", ["TT_THREAD", "TT_MP"])
def test_first_use_while_the_interpreter_is_finalized_is_refused_with_the_cause(kind):
    status, lines, log = run(f"""
    import faulthandler, sys
    from atasker_like import TT_MP, TT_THREAD, background_task
    faulthandler.dump_traceback_later(20, exit=True)

    def own(x):
        return x

    class Last:
        def __del__(self, f=background_task(own, tt={kind}), out=sys.__stdout__):
            try:
                f(-1).value(2)
            except BaseException as error:
                print(type(error).__name__, error, file=out, flush=True)

    last = Last()
    """)
    assert status == 0 and lines and lines[0].startswith("SupervisorStoppedError"), log
    assert "finalized" in lines[0] or "main thread has ended" in lines[0]


def test_interrupt_that_ends_the_main_thread_stops_the_workers():
    status, lines, log = run(SERVICE + """
    task_supervisor.start()
    poll.start()
    raise KeyboardInterrupt
    """)
    assert "keeps the program alive" not in log and "KeyboardInterrupt" in log


INTERRUPTED = """
    import sys, threading
    from atasker_like import TaskSupervisor
    supervisor = TaskSupervisor(pool_size=1)
    supervisor.set_thread_pool(reserve_normal=0, reserve_high=0)
    began, gate = threading.Event(), threading.Event()
    supervisor.put_task(lambda: began.set() or gate.wait())
    began.wait()
    waiting = supervisor.put_task(print, ("ran",))
    threading.Timer(0.05, gate.set).start()
    {before}
    sys.last_type = KeyboardInterrupt
"""


def test_exit_after_an_interrupt_cancels_what_waits_with_one_warning():
    status, lines, log = run(INTERRUPTED.format(before=""))
    assert (status, lines) == (0,
                               []) and log.count("1 task(s) that had not started are "
                                                 "cancelled") == 1


@pytest.mark.parametrize("session",
                         ["sys.ps1 = '>>> '", "import builtins; builtins.__IPYTHON__ = True"])
def test_exit_of_an_interactive_session_finishes_what_waits_despite_an_earlier_interrupt(session):
    status, lines, log = run(INTERRUPTED.format(before=session))
    assert (status, lines, log) == (0, ["ran"], "")


INTERRUPTED_EXIT = """
    import logging, os, signal, sys, threading, time
    from atasker_like import TaskSupervisor
    from atasker_like.supervisor import interpreter_exit
    waits = threading.Event()

    class Noted(logging.StreamHandler):
        def emit(self, record):
            super().emit(record)
            if "waits for 1 running task(s)" in record.getMessage():
                waits.set()

    def work():
        while not interpreter_exit._finishing:
            time.sleep(0.001)
        # Again, as CPython does not see a signal that comes just before the main thread waits.
        while not waits.is_set():
            os.kill(os.getpid(), signal.SIGINT)
            waits.wait(5)
        while {again}:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
        print("finished")

    logging.basicConfig(handlers=[Noted()])
    supervisor = TaskSupervisor(pool_size=1)
    supervisor.set_thread_pool(reserve_normal=0, reserve_high=0)
    supervisor.put_task(work)
    supervisor.put_task(print, ("ran",))
"""


@pytest.mark.parametrize("again", [False, True])
def test_first_interrupt_of_an_exit_lets_running_tasks_finish_and_the_second_ends_all(again):
    status, lines, log = run(INTERRUPTED_EXIT.format(again=again))
    assert (status, lines) == ((130, []) if again else (0, ["finished"])), log
    assert log.count("1 task(s) that had not started are cancelled") == 1
    assert "the first is work (" in log and "press Ctrl-C again to end at once" in log
