"""``python3 -m atasker_like exec``: a program runs as it would by itself."""
import multiprocessing
import os
import signal
import subprocess
import sys
import zipfile

import pytest

import atasker_like
from atasker_like import cli
from tests.support import PROGRAM_PATIENCE
from tests.support.scripts import without_late

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(atasker_like.__file__)))

pytestmark = [pytest.mark.slow, pytest.mark.gate]       # each starts interpreters


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


def run(*arguments, **options):
    environment = dict(os.environ, PYTHONPATH=ROOT, PYTHONDONTWRITEBYTECODE="1")
    return subprocess.run([sys.executable, *arguments], timeout=PROGRAM_PATIENCE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, env=environment, **options)


def both(*arguments, **options):
    """Run a program by itself and under exec; they must not differ."""
    alone, under = run(*arguments, **options), run("-m", "atasker_like", "exec", *arguments,
                                                   **options)
    assert ((under.returncode, under.stdout, under.stderr)
            == (alone.returncode, alone.stdout, alone.stderr))
    return under


WHO = """
import sys
print(__name__, __file__, __package__, __doc__, type(__loader__).__name__,
      getattr(__loader__, "path", None))
print(getattr(__spec__, "name", None), sorted(globals()), sys.argv, sys.path[0],
      sys._getframe().f_code.co_filename)
print(sys.modules["__main__"].__dict__ is globals(), type(__builtins__).__name__)
"""


@pytest.mark.parametrize("name",
                         ["who.py", "./who.py", "folder/../who.py", "{here}/who.py",
                          "folder/link.py"])
def test_a_script_is_the_main_module(write, tmp_path, name):
    write("who.py", WHO)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link.py").symlink_to(tmp_path / "who.py")
    done = both(name.format(here=tmp_path), "-m", "--help", "--", "-x", cwd=str(tmp_path))
    assert "'-m', '--help', '--', '-x'" in done.stdout


def test_a_module_is_the_main_module(write, tmp_path):
    write("package/who.py", WHO)
    write("package/__init__.py", "")
    write("package/__main__.py", WHO)
    both("-m", "package.who", "--help", "-m", cwd=str(tmp_path))
    both("-m", "package", "a", cwd=str(tmp_path))


def test_a_folder_and_an_archive(write, tmp_path):
    write("folder/__main__.py", WHO)
    both("folder", "a", cwd=str(tmp_path))
    with zipfile.ZipFile(str(tmp_path / "archive.pyz"), "w") as archive:
        archive.writestr("__main__.py", WHO)
    both("archive.pyz", "a", cwd=str(tmp_path))


def test_a_compiled_script(write, tmp_path):
    import py_compile

    py_compile.compile(write("who.py", WHO), str(tmp_path / "who.pyc"))
    done = run("-m", "atasker_like", "exec", "who.pyc", cwd=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("__main__ ")


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="no pipes by name")
def test_a_script_that_comes_through_a_pipe():
    """As the process substitution of a shell passes it."""
    reader, writer = os.pipe()
    with open(writer, "w") as file:
        file.write("print('from a pipe')\n")
    with open(reader):
        done = run("-m", "atasker_like", "exec", f"/dev/fd/{reader}", pass_fds=(reader,))
    assert (done.returncode, done.stdout, done.stderr) == (0, "from a pipe\n", "")


def test_what_it_reads_from_stdin_is_its_own(write, tmp_path):
    write("program.py", "import sys\nprint(input(), sys.stdin.read())\n")
    assert both("program.py", cwd=str(tmp_path), input="first\nsecond").stdout == "first second\n"


def test_program_in_another_encoding_runs(tmp_path):
    (tmp_path / "program.py").write_bytes("# coding: latin-1\n"
                                          "print(ascii('é'))\n".encode("latin-1"))
    assert both("program.py", cwd=str(tmp_path)).stdout == "'\\xe9'\n"


ENDS = {
    "falls off the end": "print('done')",
    "status": "import sys; sys.exit(7)",
    "message": "import sys; sys.exit('no luck')",
    "None": "raise SystemExit",
    "error":
        "def inner():\n    raise ValueError('broken')\n\ndef outer():\n    inner()\n\nouter()\n",
    "chained": "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise LookupError('x') "
               "from error\n",
    "operating system": "open('/no/such/file')",
    "syntax": "print('a')\nprint('b' + + )\n",
    "null": "x = 1\nimport no_such_module\n",
    "interrupt": "raise KeyboardInterrupt",
    "own hook":
        "import sys\nsys.excepthook = lambda kind, value, trace: print(kind.__name__, value, "
        "trace.tb_frame.f_code.co_name, trace.tb_next)\nraise ValueError('mine')\n",
    "at exit": "import atexit, sys\natexit.register(lambda: print('exit', sys.last_type.__name__, "
               "sys.last_traceback.tb_lineno))\n1 / 0\n",
    "main goes first":
        "import threading\nmay = threading.Event()\nthreading.Thread(target=lambda: (may.wait(), "
        "print('after'))).start()\nprint('end', flush=True)\nmay.set()\n",
}


@pytest.mark.parametrize("end", ENDS)
def test_it_ends_as_it_would(write, tmp_path, end):
    write("program.py", ENDS[end])
    both("program.py", cwd=str(tmp_path))


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupt_kills_it_by_its_signal(write, tmp_path):
    write("program.py",
          "import os, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
          "os.kill(os.getpid(), signal.SIGINT)\nsignal.pause()\n")
    assert both("program.py", cwd=str(tmp_path)).returncode == -signal.SIGINT


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_the_signals_are_the_programs(write, tmp_path):
    write("program.py",
          "import os, signal, sys\nprint(*(signal.getsignal(s) for s in (signal.SIGINT, "
          "signal.SIGTERM)))\n"
          "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
          "os.kill(os.getpid(), signal.SIGTERM)\n"
          "signal.pause()\n")
    assert both("program.py", cwd=str(tmp_path)).returncode == 3


def test_no_such_program(tmp_path):
    done = run("-m", "atasker_like", "exec", "missing.py", cwd=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("python -m atasker_like exec: can't open file ")
    assert "missing.py" in done.stderr and "No such file" in done.stderr
    both("-m", "missing", cwd=str(tmp_path))


def test_two_dashes_may_stand_in_front(write, tmp_path):
    write("program.py", "import sys; print(sys.argv)")
    done = run("-m", "atasker_like", "exec", "--", "program.py", "--", "-x", cwd=str(tmp_path))
    assert (done.stdout, done.stderr) == ("['program.py', '--', '-x']\n", "")


@pytest.mark.parametrize("arguments", [["exec"], ["exec", "-m"], ["exec", "--"]])
def test_no_program_was_named(capsys, arguments):
    assert cli.main(arguments) == 2
    assert "exec SCRIPT" in capsys.readouterr().err


def test_the_folder_of_the_program_is_not_searched_if_so_asked(write, tmp_path):
    write("program.py", "import sys; print(sys.path)")
    folder = str(tmp_path)
    code = (f"import sys; sys.path.insert(0, {ROOT!r}); from atasker_like.cli import main; "
            "main(['exec', 'program.py'])")
    assert repr(folder) not in run("-I", "-c", code, cwd=folder).stdout
    assert repr(folder) in run("-c", code, cwd=folder).stdout


# -- atasker in it ---------------------------------------------------------------------------------

SERVICE = """
import sys
from atasker import TT_MP, background_task, task_supervisor, wait_completed
from atasker.supervisor import TASK_STATUS_COMPLETED
import library

CALLS = []

def own(number, _task_id=None):
    import atasker
    return number * number, int(atasker.TASK_LOW), sys.argv[1:], len(CALLS)

def in_a_process_of_its_own(queue):
    from atasker import TASK_HIGH
    queue.put(int(TASK_HIGH))

@background_task(tt=TT_MP)
def decorated(number):
    return -number

if __name__ == '__main__':
    CALLS.append('only in the parent')
    method = sys.argv[1]
    task_supervisor.set_mp_pool(pool_size=1, start_method=method)
    task_supervisor.start()
    tasks = [background_task(own, tt=TT_MP)(3), background_task(library.double, tt=TT_MP)(4),
             decorated(5)]
    print(wait_completed(tasks), [task.status == TASK_STATUS_COMPLETED for task in tasks])
    import multiprocessing
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    process = context.Process(target=in_a_process_of_its_own, args=(queue,))
    process.start()
    print(queue.get())
    process.join()
    task_supervisor.stop()
"""
LIBRARY = ("from atasker import TASK_NORMAL\nfrom atasker.workers import *\n\ndef double(number):\n"
           "    return 2 * number\n")


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.parametrize("as_module", [False, True])
def test_functions_in_pool_processes(write, tmp_path, method, as_module):
    """The library is not on the search path that a new process begins with, nor is the program's
    folder."""
    write("program.py", SERVICE)
    write("library.py", LIBRARY)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = (f"import sys; sys.path.insert(0, {ROOT!r}); from atasker_like.cli import main; "
            "main(sys.argv[1:])")
    program = ["-m", "program"] if as_module else [str(tmp_path / "program.py")]
    done = subprocess.run([sys.executable, "-c", code, "exec", *program, method], env=environment,
                          timeout=PROGRAM_PATIENCE,
                          cwd=str(tmp_path if as_module else elsewhere), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True)
    assert without_late(done.stderr) == ""
    copied = 1 if method == "fork" else 0
    assert done.stdout == f"[(9, 200, ['{method}'], {copied}), 8, -5] [True, True, True]\n50\n"


CLASSES = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from atasker import (TT_MP, BackgroundIntervalWorker, background_task, task_supervisor,
                     wait_completed)

class Point:
    def __init__(self, x):
        self.x = x

class Broken(Exception):
    pass

def move(point, **kwargs):
    return Point(point.x + 1)

def fail(point):
    raise Broken(point.x)

class Mover(BackgroundIntervalWorker):
    run = staticmethod(move)

    def process_result(self, result):
        print(type(result) is Point, result.x)
        return False

if __name__ == "__main__":
    task_supervisor.set_mp_pool(pool_size=1)
    moved = wait_completed(background_task(move, tt=TT_MP)(Point(1)))
    print(type(moved) is Point, moved.x)
    print(type(background_task(fail, tt=TT_MP)(Point(2)).exception()) is Broken)
    mover = Mover(interval=60)
    mover.start(Point(3))
    mover.wait_until_stop()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        print(executor.submit(move, Point(4)).result().x)
    task_supervisor.stop()
"""


@pytest.mark.parametrize("as_module", [False, True])
def test_classes_of_the_program_cross_in_both_directions(write, tmp_path, as_module):
    write("program.py", CLASSES)
    done = run("-m", "atasker_like", "exec", *(["-m", "program"] if as_module else ["program.py"]),
               cwd=str(tmp_path))
    assert (without_late(done.stderr), done.stdout) == ("", "True 2\nTrue\nTrue 4\n5\n")


def test_tasks_that_are_left_at_the_end_of_the_program_still_find_its_functions(write, tmp_path):
    write("program.py",
          "from atasker import TT_MP, background_task\n\ndef say(word):\n    print(word, "
          "flush=True)\n\n"
          "if __name__ == '__main__':\n    background_task(say, tt=TT_MP)('late')\n")
    done = run("-m", "atasker_like", "exec", "program.py", cwd=str(tmp_path))
    assert (done.returncode, done.stdout, without_late(done.stderr)) == (0, "late\n", "")


def test_install_on_the_first_line(write, tmp_path):
    write("program.py", "import atasker_like.legacy; atasker_like.legacy.install()\n" + SERVICE)
    write("library.py", LIBRARY)
    for method in multiprocessing.get_all_start_methods():
        done = run(str(tmp_path / "program.py"), method, cwd=ROOT)
        assert without_late(done.stderr) == ""
        assert done.stdout.endswith("[True, True, True]\n50\n")


def test_a_program_that_is_interrupted_cancels_what_waits(write, tmp_path):
    write("program.py", """
import os, signal, threading
from atasker import background_task, task_supervisor

task_supervisor.set_thread_pool(pool_size=1, reserve_normal=0, reserve_high=0)
task_supervisor.start()
running, gate = threading.Event(), threading.Event()

@background_task
def work(number):
    running.set()
    gate.wait()
    print('worked', number, flush=True)

tasks = [work(n) for n in range(3)]
running.wait()
signal.signal(signal.SIGINT, signal.default_int_handler)
tasks[2].add_done_callback(lambda task: (print(task.state, flush=True), gate.set()))
os.kill(os.getpid(), signal.SIGINT)
threading.Event().wait()
""")
    done = run("-m", "atasker_like", "exec", "program.py", cwd=str(tmp_path))
    assert done.returncode == -signal.SIGINT
    assert done.stdout == "cancelled\nworked 0\n"
    lines = done.stderr.splitlines()
    following = lines[lines.index("KeyboardInterrupt") + 1:]
    # Until the running task has ended, another line may say that the program waits for it.
    assert "2 task(s) that had not started are cancelled" in following[0], following
