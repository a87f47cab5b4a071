"""Runs programs that were written for ``atasker``: ``import atasker`` finds this library.

There are two ways, without and with a change of the program's first line::

    python3 -m atasker_like exec program.py              import atasker_like.legacy
                                                         atasker_like.legacy.install()

Both put a finder in front of the import system. Pool processes need it before they import anything,
since a process that was not forked runs the file of the program again to find its functions::

    get_preparation_data() ─> the search path ─> unpickled ─> install() ─> the program ─> the task
    (multiprocessing)         of the parent

This file imports only modules that a program imports in any case: a pool process loads it, too.
"""
from __future__ import annotations

import builtins
import os
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType

from . import _modes
from ._atomics import RLock
from ._inspect import traceback_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Sequence

__all__ = ["ProgramNotFoundError", "install", "run_module", "run_script", "uninstall"]

#: The release of atasker whose names and behaviour this module offers.
_RELEASE = "0.7.9"

_PRIORITIES = ("TASK_LOW", "TASK_NORMAL", "TASK_HIGH", "TASK_CRITICAL")
_KINDS = ("TT_THREAD", "TT_MP", "TT_COROUTINE")
_STATUSES = ("TASK_STATUS_QUEUED", "TASK_STATUS_DELAYED", "TASK_STATUS_STARTED",
             "TASK_STATUS_COMPLETED", "TASK_STATUS_CANCELED")
_SYNC_WORKERS = ("background_worker", "BackgroundWorker", "BackgroundIntervalWorker",
                 "BackgroundQueueWorker", "BackgroundEventWorker")
_COLLECTIONS = ("FunctionCollection", "TaskCollection")

#: The names of each module. Programs also import the names that a module has imported itself.
_NAMES = {
    "atasker": ("TaskSupervisor", "task_supervisor", *_PRIORITIES, *_KINDS, *_SYNC_WORKERS,
                *_COLLECTIONS, "LocalProxy", "Locker", "background_task", "wait_completed",
                "co_mp_apply", "g", "set_debug"),
    "atasker.supervisor": ("TaskSupervisor", "Task", "ALoop", *_PRIORITIES, *_KINDS, *_STATUSES),
    "atasker.workers": (*_SYNC_WORKERS, "BackgroundAsyncWorker", "task_supervisor", "TASK_NORMAL",
                        *_KINDS, "ALoop"),
    "atasker.threads": ("LocalProxy", "Locker", "background_task", "wait_completed",
                        "task_supervisor", "TASK_NORMAL", *_KINDS, "ALoop", "Task"),
    "atasker.f": (*_COLLECTIONS, "task_supervisor", "TASK_NORMAL"),
    "atasker.co": ("co_mp_apply", "task_supervisor", "TASK_NORMAL", "TT_MP"),
}
_WITH_LOGGER = ("atasker.supervisor", "atasker.workers", "atasker.threads")
_SUBMODULES = tuple(name.partition(".")[2] for name in _NAMES if "." in name)

_PACKAGE = __name__.rpartition(".")[0]
#: Computed at the import, since the program may change its working folder.
_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

_lock = RLock()         # guards the names below; an import in a critical section may come back here
_finder: _Finder | None = None
_replaced: dict[str, ModuleType] = {}           # modules of atasker, imported before install()
_renamed: dict[str, tuple[type, str]] = {}      # classes, and the modules that define them
_plain_preparation: Callable[[str], dict[str, Any]] | None = None


# -- import atasker ----------------------------------------------------------------------------


def install() -> None:
    """Have ``import atasker`` find this library, here and in processes of multiprocessing.

    Call it on the first line of a program, before anything imports atasker. An installed atasker is
    not used, with a line at INFO. If one has been imported before, its modules are replaced, with a
    warning, and modules that have names of it keep them. A second call does nothing. Any thread may
    call it.

    >>> install()
    >>> from atasker import TASK_HIGH, background_task, wait_completed
    >>> wait_completed([background_task(abs, priority=TASK_HIGH)(-3)])
    [3]
    >>> uninstall()
    """
    _install(quiet=False)


def _install(quiet: bool) -> None:
    global _finder
    with _lock:
        if _finder is not None:
            return
        for name in _names_of_atasker():
            _replaced[name] = sys.modules.pop(name)
        _modes.legacy = True
        if _replaced and not quiet:
            from ._log import log

            log.warning("atasker was imported before atasker_like.legacy.install(): modules that "
                        "have names of it keep them, and the tasks that they start are not seen "
                        "here; call install() first")
        _finder = _Finder(quiet or bool(_replaced))
        sys.meta_path.insert(0, _finder)
        _install_in_children()


def _names_of_atasker() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "atasker"]


def _is_ours(name: str) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return getattr(spec, "loader", None) is _finder


def uninstall() -> None:
    """Undo :func:`install`; names that were imported meanwhile stay. Any thread may call it."""
    global _finder
    with _lock:
        if _finder is None:
            return
        if _finder in sys.meta_path:
            sys.meta_path.remove(_finder)
        for name in filter(_is_ours, _NAMES):
            del sys.modules[name]
        sys.modules.update(_replaced)
        _replaced.clear()
        _finder = None
        _modes.legacy = False
        for kind, home in _renamed.values():
            kind.__module__ = home
        _renamed.clear()
        _restore_preparation()


class _Finder:
    """Finds and loads the modules of atasker."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def find_spec(self, name: str, path: Any = None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        """Implement the protocol of the import system."""
        if name not in _NAMES:
            return None
        return ModuleSpec(name, self, origin=__file__,      # type: ignore[arg-type]
                          is_package=name == "atasker")

    def create_module(self, spec: ModuleSpec) -> None:
        """Implement the protocol of the import system."""

    def exec_module(self, module: ModuleType) -> None:
        """Implement the protocol of the import system."""
        from importlib import import_module

        package = sys.modules[_PACKAGE]
        name = module.__name__
        names = _NAMES[name]
        inner = _SUBMODULES if name == "atasker" else ()

        def find(wanted: str) -> Any:
            # From the package, on first use: a program loads only the names that it uses.
            if wanted in inner:
                return import_module(f"{name}.{wanted}")
            if wanted == "logger" and name in _WITH_LOGGER:
                import logging

                return logging.getLogger("atasker")
            if wanted not in names:
                raise AttributeError(f"module {name!r}, which {_PACKAGE} replaces, has no "
                                     f"attribute {wanted!r}")
            value = getattr(package, wanted)
            _rename_classes(package)
            setattr(module, wanted, value)
            return value

        module.__doc__ = f"``{name}``, as {_PACKAGE} offers it."
        setattr(module, "__version__", _RELEASE)
        setattr(module, "__all__", [wanted for wanted in names if wanted in package.__all__])
        setattr(module, "__getattr__", find)
        setattr(module, "__dir__", lambda: sorted({*vars(module), *names, *inner}))
        if name == "atasker" and not self._quiet:
            self._log_installed()

    def _log_installed(self) -> None:
        for finder in sys.meta_path:
            find_spec = getattr(finder, "find_spec", None)
            spec = None if finder is self or find_spec is None else find_spec("atasker", None, None)
            if spec is not None and spec.origin is not None:
                from ._log import log

                log.info("atasker is installed (%s); %s is used in its place", spec.origin,
                         _PACKAGE)
                return


def _rename_classes(package: ModuleType) -> None:
    """Give the loaded classes the modules of atasker, which programs that watch others compare."""
    with _lock:
        if _finder is None:
            return              # uninstall() came in between
        for name, home in _names_to_change(package).items():
            kind = getattr(sys.modules[f"{_PACKAGE}.{package._HOME[name]}"], name)
            _renamed[name] = kind, kind.__module__
            kind.__module__ = home


def _names_to_change(package: ModuleType) -> dict[str, str]:
    """Return the loaded classes that are not renamed, by name: each with its module of atasker."""
    found: dict[str, str] = {}
    for home, names in _NAMES.items():
        for name in names if home != "atasker" else ():
            module = sys.modules.get(f"{_PACKAGE}.{package._HOME[name]}")
            kind = getattr(module, name, None)
            if (isinstance(kind, type) and name not in _renamed
                    and kind.__module__.startswith(_PACKAGE + ".")):
                found.setdefault(name, home)
    return found


# -- processes ---------------------------------------------------------------------------------


def _install_in_children() -> None:
    """Have processes that multiprocessing starts call :func:`install` first."""
    global _plain_preparation
    try:
        from multiprocessing import spawn
    except ImportError:         # a system without processes
        return
    plain = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        data: dict[str, Any] = plain(name)
        data["sys_path"] = _SearchPath(data["sys_path"])
        return data

    _plain_preparation = plain
    setattr(spawn, "get_preparation_data", get_preparation_data)


def _restore_preparation() -> None:
    global _plain_preparation
    if _plain_preparation is not None:
        from multiprocessing import spawn

        # Otherwise another library has wrapped the function, which must stay.
        if spawn.get_preparation_data.__module__ == __name__:
            setattr(spawn, "get_preparation_data", _plain_preparation)
        _plain_preparation = None


class _SearchPath(list):        # type: ignore[type-arg]
    """A search path that installs the finder where it is unpickled.

    Every new process gets it before it imports anything of the program: pickled, if the process is
    spawned or comes from the fork server; as an expression, in the command line of the fork server.
    The first search path of a new process may lack this library, so the expression adds it.
    """

    def __repr__(self) -> str:
        return (f"(__import__('sys').path.insert(0, {_HOME!r}), "
                f"__import__({__name__!r}, fromlist=['_arrive'])._arrive({list(self)!r}))[1]")

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (repr(self),)


def _arrive(path: list[str]) -> list[str]:
    """Install the finder in a new process; return the search path of its parent."""
    del sys.path[0]             # it was added to find this module
    _install(quiet=True)
    return path


# -- running a program -------------------------------------------------------------------------


class ProgramNotFoundError(Exception):
    """There is no program to run. The message names the file and the reason."""


def run_script(path: str, arguments: Sequence[str] = ()) -> None:
    """Run a file as ``python3 PATH ARGUMENTS`` would, with :func:`install` before its first line.

    The program becomes ``__main__`` for good, so that its functions can be sent to pool processes
    until the end. Call it once, from the main thread. It raises what the program raises. If that is
    not caught, the interpreter shows the traceback that the program alone would have.

    :param path: a Python file, source or compiled; or a folder or an archive that holds a
        ``__main__.py``.
    :param arguments: ``sys.argv`` from the second on (default: empty).
    :raises ProgramNotFoundError: the file cannot be read.
    """
    import zipfile
    from io import open_code

    # Not normalized, as the interpreter has it; before 3.9 it has the path as given.
    name = os.path.join(os.getcwd(), path) if sys.version_info >= (3, 9) else path
    if os.path.isdir(path) or zipfile.is_zipfile(path):
        install()
        sys.argv[:] = [path, *arguments]
        _search_first(name, always=True)
        _run_by_name("__main__", alter_argv=False)
        return
    try:
        file = open_code(name)
    except OSError as error:
        raise ProgramNotFoundError(f"can't open file {name!r}: [Errno {error.errno}] "
                                   f"{error.strerror}") from error
    install()
    sys.argv[:] = [path, *arguments]
    _search_first(os.path.dirname(os.path.realpath(path)))
    with file:
        main = _new_main()
        vars(main).update(__file__=name, __loader__=SourceFileLoader("__main__", name))
        try:
            code = _compiled(file, name)
        except BaseException as error:
            _leave_out(error, None)
            raise
        _show_as_if_alone(exec, code, vars(main))


def run_module(name: str, arguments: Sequence[str] = ()) -> None:
    """Run a module or a package as ``python3 -m NAME ARGUMENTS`` would; see :func:`run_script`.

    :param name: the dotted name of the module or package.
    :param arguments: the texts that ``sys.argv`` has after the name (default: empty).
    :raises SystemExit: there is no such module; the message is that of the interpreter.
    """
    install()
    sys.argv[:] = ["-m", *arguments]
    _search_first(os.getcwd())
    _run_by_name(name, alter_argv=True)


def _search_first(folder: str, always: bool = False) -> None:
    """Put the folder of a program where the interpreter does; with ``-I`` and ``-P`` nowhere."""
    if not (getattr(sys.flags, "safe_path", False) or sys.flags.isolated):
        sys.path[0] = folder
    elif always:
        sys.path.insert(0, folder)


def _new_main() -> ModuleType:
    """Make a ``__main__``, with the attributes that the interpreter gives to it."""
    global _former_main
    _former_main = sys.modules["__main__"]      # its code still runs
    main = ModuleType("__main__")
    setattr(main, "__builtins__", builtins)     # otherwise exec() sets the dict of that module
    for name in ("__annotations__", "__cached__"):
        if name in vars(_former_main):
            setattr(main, name, {} if name == "__annotations__" else None)
    sys.modules["__main__"] = main
    # As multiprocessing does: objects that pool processes send are found under this name.
    if "__mp_main__" in sys.modules:
        sys.modules["__mp_main__"] = main
    return main


_former_main: ModuleType | None = None


def _compiled(file: Any, name: str) -> Any:
    from importlib.util import MAGIC_NUMBER

    content = file.read()       # as a whole: it may be a pipe
    file.close()
    if content.startswith(MAGIC_NUMBER):
        import marshal

        return marshal.loads(content[16:])
    return compile(content, name, "exec", dont_inherit=True)


def _show_as_if_alone(run: Callable[..., object], *arguments: Any) -> None:
    """Run a program, whose error is shown without the frames of this module."""
    try:
        run(*arguments)
    except BaseException as error:
        _leave_out(error, traceback_of(error).tb_next)
        raise


def _run_by_name(name: str, alter_argv: bool) -> None:
    # The interpreter itself calls this for -m, for folders and for archives; it has the messages.
    from runpy import _run_module_as_main  # type: ignore[attr-defined]

    _new_main()
    _show_as_if_alone(_run_module_as_main, name, alter_argv)


def _leave_out(error: BaseException, trace: Any) -> None:
    """Have an error that ends the program shown without the frames of this module."""
    if issubclass(type(error), SystemExit):     # it is not shown
        return
    hook = sys.excepthook

    def excepthook(kind: Any, value: Any, whole: Any) -> None:
        sys.excepthook = hook
        if value is error:
            whole = sys.last_traceback = trace
            BaseException.with_traceback(value, trace)
        hook(kind, value, whole)

    sys.excepthook = excepthook
