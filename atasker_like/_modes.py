"""The mode of the package: native, or in the position of atasker."""
from __future__ import annotations

import os
import sys

#: True between ``legacy.install()`` and ``legacy.uninstall()``: the package acts as atasker does.
legacy = False


def _working_folder() -> str | None:
    # multiprocessing records it at its import. If that has happened, its record is the older one.
    if "multiprocessing.process" in sys.modules:
        return None
    try:
        return os.getcwd()
    except OSError:             # it has been removed
        return None


#: The working folder at the import of the package, in case multiprocessing is imported later.
#: Before Python 3.9, the file of the main module may have a path that is relative to it.
start_folder = _working_folder()

#: The file of the main module. Python deletes ``__file__`` after the last line of the module has
#: run. A process that is started later would not find the functions of the program then.
main_file: str | None = getattr(sys.modules.get("__main__"), "__file__", None)
