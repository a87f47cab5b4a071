"""The program's main module: whether a new process can import it, and what becomes of tasks if it
cannot."""
import functools
import os
import sys
import types
from importlib.machinery import ModuleSpec

import pytest

from atasker_like import (TT_MP, PoolBrokenError, TaskPicklingError, _modes, background_task,
                          wait_completed)
from atasker_like.pools.process import main_module, pool as pools, starter
from tests.contract import functions as f
from tests.support import PATIENCE
from tests.support.internals import manager
from tests.support.internals.process_pool import is_probing


@pytest.fixture
def main(monkeypatch):
    """Makes another main module, with some attributes; the program was started with ``python
    FILE``."""
    def make(**attributes):
        module = types.ModuleType("__main__")
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, "__main__", module)
        return module

    monkeypatch.setattr(_modes, "main_file", None)
    monkeypatch.setattr(sys, "argv", ["program.py"])
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    return make


# -- what it is ------------------------------------------------------------------------------------


def test_main_module_that_is_a_file_can_be_imported(main, tmp_path):
    path = tmp_path / "program.py"
    path.write_text("")
    main(__file__=str(path))
    assert main_module.why_not_importable() is None


def test_main_module_with_the_name_of_a_module_can_be_imported(main):
    main(__spec__=ModuleSpec("package.module", None))
    assert main_module.why_not_importable() is None


@pytest.mark.parametrize("name, text", [("package.__main__", "the __main__.py of package package"),
                                        ("__main__", "the __main__.py of a folder or an archive")])
def test_main_module_of_a_package_cannot_be_imported(main, name, text):
    main(__spec__=ModuleSpec(name, None), __file__=__file__)
    assert main_module.why_not_importable() == text


def test_main_module_without_a_file_cannot_be_imported(main, monkeypatch):
    main()
    assert main_module.why_not_importable() == "code from standard input"
    main(__file__="<stdin>")
    assert main_module.why_not_importable() == "code from standard input"
    main(__file__="/nowhere/program.py")
    assert main_module.why_not_importable() == "the file /nowhere/program.py, which is gone"
    monkeypatch.setattr(sys, "argv", ["-c"])
    main()
    assert main_module.why_not_importable() == "code given to python -c"
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert main_module.why_not_importable() == "an interactive session"
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    assert main_module.why_not_importable() == "a notebook"


def test_file_that_is_not_there_is_hidden_from_new_processes(main):
    module = main(__file__="<stdin>")
    with main_module.importable_by_path():
        assert not hasattr(module, "__file__")
    assert module.__file__ == "<stdin>"
    module = main(__file__=__file__)
    with main_module.importable_by_path():
        assert module.__file__ == __file__


def test_name_of_the_file_is_kept_for_the_exit(main, monkeypatch):
    module = main()
    monkeypatch.setattr(_modes, "main_file", __file__)
    assert main_module.main_module() is module
    assert module.__file__ == __file__ and main_module.why_not_importable() is None


@pytest.mark.parametrize("source, lacks", [
    ("f(1)\n", True), ("log = logging.getLogger(__name__)\nf(1)\n", True),
    ("if __name__ == '__main__':\n    f(1)\n", False),
    ('if "__main__" == __name__:\n    f(1)\n', False)],
    ids=["plain", "logger", "guard", "double quotes"])
def test_guard_may_be_missing_only_in_a_source_without_its_name(main, tmp_path, source, lacks):
    path = tmp_path / "program.py"
    main(__file__=str(path))
    path.write_text(source)
    assert main_module.may_lack_guard() is lacks


def test_no_guard_is_missing_in_a_file_that_cannot_be_read(main, tmp_path):
    path = tmp_path / "program.py"
    main(__file__=str(path))
    assert not main_module.may_lack_guard()
    main()
    assert not main_module.may_lack_guard()


# -- functions of it -------------------------------------------------------------------------------


def give(value=1):
    return value


@pytest.mark.parametrize("wrap", [lambda function: function, functools.partial])
def test_function_of_a_main_module_that_cannot_be_imported_is_refused_at_once(main, monkeypatch,
                                                                              make_supervisor,
                                                                              wrap):
    main(give=give)
    monkeypatch.setattr(give, "__module__", "__main__")
    supervisor = make_supervisor()
    supervisor.set_mp_pool(pool_size=1)
    task = background_task(wrap(give), tt=TT_MP, supervisor=supervisor, retries=3, name="give")()
    assert task.done() and task.attempts == 0
    with pytest.raises(TaskPicklingError,
                       match="function of task give cannot be sent .* defined in code from "
                             "standard input, "
                             "which a new process cannot import; move it to a "
                             "module"):
        task.value()
    assert manager(supervisor).processes.process_count() == 0


def test_function_of_a_notebook_may_be_forked(main, monkeypatch, make_supervisor):
    main(give=give)
    monkeypatch.setattr(give, "__module__", "__main__")
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    supervisor = make_supervisor()
    supervisor.set_mp_pool(pool_size=1)
    # in a process that does not know it
    assert supervisor.put_task(f.give, (2,), tt=TT_MP).value(PATIENCE) == 2
    task = background_task(give, tt=TT_MP, supervisor=supervisor)()
    assert "a notebook" in str(task.exception()) and "start_method='fork'" in str(task.exception())
    supervisor.set_mp_pool(start_method="fork")
    assert background_task(give, tt=TT_MP, supervisor=supervisor)(3).value(PATIENCE) == 3


def test_function_of_another_module_runs_without_a_main_module(main, make_supervisor):
    main(__file__="<stdin>")
    supervisor = make_supervisor()
    supervisor.set_mp_pool(pool_size=1)
    assert supervisor.put_task(f.give, (2,), tt=TT_MP).value(PATIENCE) == 2


def test_initializer_of_a_main_module_that_cannot_be_imported_fails_what_waits_at_once(
        main, monkeypatch, make_supervisor):
    main(give=give)
    monkeypatch.setattr(give, "__module__", "__main__")
    supervisor = make_supervisor()
    supervisor.set_mp_pool(pool_size=1, initializer=give)
    error = supervisor.put_task(f.give, (1,), tt=TT_MP).exception(PATIENCE)
    assert (type(error) is PoolBrokenError
            and "the initializer is defined in code from standard input" in str(error))


# -- a main module without a guard -----------------------------------------------------------------


def test_tasks_fail_at_once_if_the_main_module_starts_processes(make_supervisor, monkeypatch,
                                                                caplog):
    started = []
    launch = starter.launch
    monkeypatch.setattr(starter, "launch",
                        lambda *arguments: started.append(1) or launch(*arguments))
    monkeypatch.setattr(starter, "may_lack_guard", lambda: True)
    supervisor = make_supervisor()
    # Ends as a process does that imports such a module.
    supervisor.set_mp_pool(pool_size=3, initializer=os._exit, initargs=(main_module.NO_GUARD,))
    bound = background_task(f.give, tt=TT_MP, supervisor=supervisor, retries=3)
    tasks = [bound(number) for number in range(5)]
    for task in tasks:
        assert type(task.exception(PATIENCE)) is PoolBrokenError
        assert "under the line if __name__ == '__main__'" in str(task.exception())
        assert task.exception().__cause__ is None
    assert type(bound(1).exception(PATIENCE)) is PoolBrokenError
    assert len(started) == 1            # there was no other one beside it, nor after it
    assert not caplog.records


def test_process_without_a_task_tells_of_a_main_module_that_starts_processes(make_supervisor,
                                                                             monkeypatch, caplog):
    supervisor = make_supervisor()
    supervisor.set_mp_pool(pool_size=1, min_size=1, initializer=os._exit,
                           initargs=(main_module.NO_GUARD,))
    supervisor.start()
    error = supervisor.put_task(f.give, (1,), tt=TT_MP).exception(PATIENCE)
    assert "if __name__ == '__main__'" in str(error)


@pytest.mark.slow
def test_processes_start_side_by_side_once_the_first_is_ready(make_supervisor, monkeypatch):
    monkeypatch.setattr(starter, "may_lack_guard", lambda: True)
    supervisor = make_supervisor()
    supervisor.set_mp_pool(pool_size=2)
    tasks = [supervisor.put_task(f.give, (number,), tt=TT_MP) for number in range(2)]
    assert wait_completed(tasks, PATIENCE) == [0, 1]
    assert is_probing(manager(supervisor).processes.starter) is False


def test_submission_during_the_import_in_a_foreign_process_is_logged(make_supervisor, monkeypatch):
    for module in (pools, starter):
        monkeypatch.setattr(module, "is_being_imported", lambda: True)
        monkeypatch.setattr(module, "end_if_pool_process", lambda: None)
    supervisor = make_supervisor()
    supervisor.set_mp_pool(pool_size=1)
    error = supervisor.put_task(f.give, (1,), tt=TT_MP).exception(PATIENCE)
    assert type(error) is PoolBrokenError and "if __name__ == '__main__'" in str(error)


@pytest.mark.parametrize("name, ends",
                         [("supervisor_default_process-3", True), ("MainProcess", True),
                          ("Process-1", False),
                          ("supervisor", False)])
def test_pool_process_and_fork_server_alone_end_with_the_status(monkeypatch, name,
                                                                ends):
    from multiprocessing import process

    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(process.current_process(), "_name", name)
    main_module.end_if_pool_process()
    assert ended == [main_module.NO_GUARD] * ends


def test_import_by_multiprocessing_is_seen(monkeypatch):
    from multiprocessing import process

    assert not main_module.is_being_imported()
    monkeypatch.setattr(process.current_process(), "_inheriting", True, raising=False)
    assert main_module.is_being_imported()
