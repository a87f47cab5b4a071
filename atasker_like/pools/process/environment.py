"""The environment variables of pool processes, which are those of the program when they start.

A process that is spawned or forked by the program has them. The fork server has those of its own start, and its
children have the same. multiprocessing sends each of them the working folder and the module search path, and applies
these before the child imports the main module. The name of the process goes the same way, and here it brings the
variables along.
"""
from __future__ import annotations

import os

from .fork_server import fork_server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ProcessName"]

# In the child it is evaluated before the module search path is set, so it uses the standard library alone.
_APPLY = """[
    [environ.pop(key, None) for key in set(environ) - set(values)],
    [environ.__setitem__(key, value) for key, value in values.items() if environ.get(key) != value],
    [tzset() for tzset in zones if values.get("TZ") != before],
    name][-1]"""
_WITH = ("(lambda os, time: eval(code, dict(values=values, name=name, environ=os.environ, code=code,"
         " before=os.environ.get('TZ'), zones=[time.tzset] if hasattr(time, 'tzset') else [])))"
         "(__import__('os'), __import__('time'))")

#: The pid of the fork server, and the variables that it was started with. Guarded by the lock of process starts.
_known: tuple[int | None, dict[str, str]] = None, {}


def _variables() -> dict[str, str]:
    found = ((key, os.environ.get(key)) for key in list(os.environ))
    return {key: value for key, value in found if value is not None}        # None: deleted meanwhile


class ProcessName(str):
    """The name of a process of the fork server. The first pickle of it sets the variables where it is read.

    That is the pickle of what multiprocessing calls preparation data. The second one is that of the process object,
    which is read when the main module has been imported, and may have set variables of its own.
    """

    def __init__(self, name: str) -> None:
        self._variables = _variables()
        self._server = fork_server()
        self._is_sent = False

    def __new__(cls, name: str) -> ProcessName:
        return super().__new__(cls, name)

    def __reduce__(self) -> tuple[Any, ...]:
        plain = "".join((self, ""))
        is_up_to_date = self._server is None or _known == (self._server, self._variables)
        if self._is_sent or is_up_to_date:
            return str, (plain,)
        self._is_sent = True
        return eval, (_WITH, {"code": _APPLY, "values": self._variables, "name": plain})

    def note_server(self) -> None:
        """The process has been started: if that has started the fork server, too, note what variables it has."""
        global _known
        server = fork_server()
        if server != self._server:
            _known = server, self._variables
