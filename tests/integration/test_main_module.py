"""Programs whose main module a new process cannot import, or whose import starts processes."""
import os
import subprocess
import sys
import textwrap

import pytest

from tests.support import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.gate]

METHODS = ["forkserver", "spawn"]

UNGUARDED = """
    import os, sys
    with open({runs!r}, "a") as file:
        file.write("x")
    from atasker_like import *
    task_supervisor.set_mp_pool(pool_size=2, start_method={method!r})

    @background_task(tt=TT_MP)
    def f(x):
        return x

    class Worker(BackgroundIntervalWorker):
        @staticmethod
        def run():
            print("ran", flush=True)
"""


def run(arguments, folder, **options):
    """Run a program; return what it wrote."""
    return subprocess.run([sys.executable, *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60, cwd=str(folder),
                          universal_newlines=True, env=dict(os.environ, PYTHONPATH=ROOT), **options)


WAYS = {
    "value": "f(1).value()",
    "many, nobody waits": "tasks = [f(n) for n in range(8)]",
    "waves": "[f(n).exception() for n in range(3)]",
    "pmap": "pmap(f.__wrapped__, range(4))",
    "a queue": "q = ProcessQueue(); h = q.map(f.__wrapped__, range(3)); q.run()",
    "delayed": "f.options(delay=0.01)(1).value()",
    # The import in the new process takes as long as the machine lets it: the program waits for the
    # first record, and then for the time of ten further runs.
    "a worker": """
import logging, threading
logged = threading.Event()
class Handler(logging.StreamHandler):
    def emit(self, record):
        super().emit(record)
        logged.set()
logging.getLogger().addHandler(Handler())
worker = Worker(interval=0.05)
worker.start()
logged.wait(30)
threading.Event().wait(0.5)
""",
}


@pytest.mark.parametrize("way, method",
                         [*((way, "forkserver") for way in WAYS), ("value", "spawn"),
                          ("many, nobody waits", "spawn")])
def test_program_without_a_guard_fails_once_and_is_imported_once(tmp_path, way, method):
    runs = tmp_path / "runs"
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(UNGUARDED.format(runs=str(runs), method=method)) + WAYS[way]
                       + "\n")
    ended = run(["program.py"], tmp_path)
    assert len(runs.read_text()) == 2, ended.stdout       # here, and in one new process
    if way != "waves":
        assert ("put the code that starts them under the line if __name__ == "
                "'__main__'" in ended.stdout)
    for noise in ("bootstrapping phase", "before it was ready", " tries ", "ran\n"):
        assert noise not in ended.stdout
    if way in ("value", "pmap", "delayed"):
        assert ended.returncode == 1 and ended.stdout.count("could not start a process") in (1, 2)


@pytest.mark.parametrize("method", METHODS)
def test_program_with_a_guard_that_configures_its_pool_outside_runs(tmp_path, method):
    (tmp_path / "program.py").write_text(textwrap.dedent(f"""
        from atasker_like import *
        task_supervisor.set_mp_pool(pool_size=2, min_size=2, start_method={method!r})
        task_supervisor.start()

        @background_task(tt=TT_MP)
        def f(x):
            return x

        @background_task(tt=TT_MP)
        def outer(x):
            return f(x).value()

        if __name__ == "__main__":
            print(f(1).value(), outer(2).value())
            task_supervisor.stop()
    """))
    ended = run(["program.py"], tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "1 2\n")


SCRIPT = """
from atasker_like import *
class Thing:
    pass
@background_task(tt=TT_MP)
def f(x=None):
    return x
if __name__ == "__main__":
    print(background_task(abs, tt=TT_MP)(-3).value())
    print(f().exception())
    print(background_task(id, tt=TT_MP)(Thing()).exception())
"""


@pytest.mark.parametrize("arguments, options, source", [
    (["-"], {"input": SCRIPT}, "code from standard input"),
    (["-c", SCRIPT], {}, "code given to python -c"),
    (["-m", "package"], {}, "the __main__.py of package package"),
    (["package"], {}, "the __main__.py of a folder or an archive"),
], ids=["stdin", "-c", "-m", "folder"])
def test_main_module_that_is_no_file_runs_imported_functions_and_refuses_its_own(tmp_path,
                                                                                 arguments,
                                                                                 options, source):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(SCRIPT)
    ended = run(arguments, tmp_path, **options)
    first, second, third = ended.stdout.splitlines()
    assert first == "3"
    assert f"defined in {source}, which a new process cannot import; move it to a module" in second
    assert "a new process cannot import this main module: move it to a module" in third


def test_module_that_is_run_by_its_name_works(tmp_path):
    (tmp_path / "module.py").write_text(SCRIPT)
    ended = run(["-m", "module"], tmp_path)
    assert ended.stdout.splitlines()[:2] == ["3", "None"] and ended.returncode == 0


def test_function_below_the_guard_is_reported(tmp_path):
    (tmp_path / "program.py").write_text(textwrap.dedent("""
        from atasker_like import *
        if __name__ == "__main__":
            @background_task(tt=TT_MP)
            def f():
                return 1
            print(f().exception())
    """))
    ended = run(["program.py"], tmp_path)
    assert "define it above the line if __name__ == '__main__'" in ended.stdout


def test_first_process_task_after_the_main_module_has_run_finds_its_functions(tmp_path):
    (tmp_path / "program.py").write_text(textwrap.dedent("""
        import threading
        from atasker_like import *

        def f(x):
            return x + 1

        def serve():
            threading.main_thread().join()
            print(background_task(f, tt=TT_MP)(1).value(30))

        if __name__ == "__main__":
            task_supervisor.start()
            threading.Thread(target=serve).start()
    """))
    ended = run(["program.py"], tmp_path)
    # A slow machine adds a warning about the wait.
    assert ended.returncode == 0 and "2" in ended.stdout.splitlines(), ended.stdout
