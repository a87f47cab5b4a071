"""The main module of the program, which every process that is not forked imports.

Such a process imports the main module to find its functions and classes. So the module must be a
file, and its import must not start processes. If it does, multiprocessing raises an error in the
new process only, and the program sees a process that died without a reason. Here the new process
ends with an exit code of its own. The tasks fail at once with one error that names the cause.
"""
from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress

from ... import _modes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Iterator


#: The exit code of a process that tried to start processes while it imported the main module.
NO_GUARD = 179

_NAME_PARTS = "supervisor_", "_process-"


def process_name(pool: str, number: int) -> str:
    """Return the name of a pool process."""
    return f"{pool}-{number}"


class UnguardedMainError(RuntimeError):
    """The main module starts processes when it is imported."""

    def __init__(self) -> None:
        super().__init__("each new process imports the main module of the program, which then "
                         "starts processes itself; put the code that starts them under the line "
                         "if __name__ == '__main__'")


# -- in the process that imports it ----------------------------------------------------------------


def is_being_imported() -> bool:
    """Return True if multiprocessing started this process and it still imports the main module."""
    process: Any = sys.modules.get("multiprocessing.process")
    return process is not None and bool(getattr(process.current_process(), "_inheriting", False))


def end_if_pool_process() -> None:
    """Exit with NO_GUARD if this is a pool process or a fork server; else return.

    A process calls it when it tries to start processes during the import of the main module. The
    fork server is included since it imports the main module first on some Python versions.
    """
    from multiprocessing import process

    name = process.current_process().name
    if name == "MainProcess" or (name.startswith(_NAME_PARTS[0]) and _NAME_PARTS[1] in name):
        flush_output()
        os._exit(NO_GUARD)


def flush_output() -> None:
    """Write what the standard streams hold."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):       # closed, or None
            stream.flush()


# -- in the program --------------------------------------------------------------------------------


if _modes.start_folder is not None:
    # The program may have changed its working folder before it imported multiprocessing.
    from multiprocessing import process as _process

    setattr(_process, "ORIGINAL_DIR", os.path.abspath(_modes.start_folder))


def main_module() -> ModuleType | None:
    """Return the main module, with its ``__file__`` restored; None if there is no main module."""
    main = sys.modules.get("__main__")
    file = _modes.main_file
    if file is not None and main is not None and getattr(main, "__spec__", None) is None \
            and not hasattr(main, "__file__"):
        main.__file__ = file
    return main


def _path_of(main: ModuleType) -> str | None:
    """Return the path of the file that a new process would import, or None."""
    from multiprocessing import process

    path: str | None = getattr(main, "__file__", None)
    if path is None or getattr(getattr(main, "__spec__", None), "name", None) is not None:
        return None
    folder: str | None = getattr(process, "ORIGINAL_DIR", None)
    return path if folder is None else os.path.join(folder, path)


def why_not_importable() -> str | None:
    """Return a description of the main module if a new process cannot import it; else None."""
    main = main_module()
    if main is None:
        return None
    name = getattr(getattr(main, "__spec__", None), "name", None)
    if name is not None:
        if name == "__main__" or name.endswith(".__main__"):
            package = name.rpartition(".")[0]
            return (f"the __main__.py of package {package}" if package
                    else "the __main__.py of a folder or an archive")
        return None
    path = _path_of(main)
    if path is not None and os.path.exists(path):
        return None
    if "ipykernel" in sys.modules:
        return "a notebook"
    if hasattr(sys, "ps1"):
        return "an interactive session"
    if sys.argv[:1] == ["-c"]:
        return "code given to python -c"
    if path is None or main.__file__.startswith("<"):       # type: ignore[union-attr]
        return "code from standard input"
    return f"the file {path}, which is gone"


def names_main(pickled: bytes) -> bool:
    """Return True if a pickled function refers to the main module."""
    return b"\x8c\x08__main__" in pickled


@contextmanager
def importable_by_path() -> Iterator[None]:
    """Keep new processes from importing the main module while its file is missing."""
    # They would fail at once otherwise.
    main = main_module()
    path = None if main is None else _path_of(main)
    if main is None or path is None or os.path.exists(path):
        yield
        return
    name = main.__file__
    del main.__file__
    try:
        yield
    finally:
        main.__file__ = name


def may_lack_guard() -> bool:
    """Return True if new processes import the main module and its source has no ``__main__``."""
    main = main_module()
    if main is None or why_not_importable() is not None:
        return False
    path = _path_of(main) or getattr(getattr(main, "__spec__", None), "origin", None)
    if path is None:
        return False
    try:
        with open(path, "rb") as file:
            # Not __name__, which stands in many files without a guard, as in getLogger(__name__).
            return b"__main__" not in file.read()
    except OSError:
        return False
