"""Give each pool process the environment variables that the program has when it starts it.

A process that the program spawns or forks has them. The fork server has the variables of its own
start, and its children inherit these. multiprocessing sends each child the working folder and the
module search path, and applies them before the child imports the main module. The name of the
process is sent with them, and its pickle carries the variables.
"""
from __future__ import annotations

import os

from .fork_server import fork_server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# The child evaluates it before the module search path is set, so it uses the standard library only.
_APPLY = """[
    [environ.pop(key, None) for key in set(environ) - set(values)],
    [environ.__setitem__(key, value) for key, value in values.items() if environ.get(key) != value],
    [tzset() for tzset in zones if values.get("TZ") != before],
    name][-1]"""
_WITH = ("(lambda os, time: eval(code, dict(values=values, name=name, environ=os.environ,"
         " code=code, before=os.environ.get('TZ'),"
         " zones=[time.tzset] if hasattr(time, 'tzset') else [])))"
         "(__import__('os'), __import__('time'))")

#: The pid of the fork server, and the variables that it was started with. Guarded by the lock of
#: process starts.
_known: tuple[int | None, dict[str, str]] = None, {}


def _variables() -> dict[str, str]:
    found = ((key, os.environ.get(key)) for key in list(os.environ))
    # None: another thread deleted the variable during the loop.
    return {key: value for key, value in found if value is not None}


class ProcessName(str):
    """The name of a process of the fork server. Loading its first pickle sets the variables.

    The first pickle is part of the preparation data of multiprocessing. The second one is part of
    the process object. The child loads that after the import of the main module, which may have set
    variables of its own. So the second pickle sets none.
    """

    def __init__(self, name: str) -> None:
        self._variables = _variables()
        self._server = fork_server()
        self._is_sent = False

    def __reduce__(self) -> tuple[Any, ...]:
        plain = "".join((self, ""))
        is_up_to_date = self._server is None or _known == (self._server, self._variables)
        if self._is_sent or is_up_to_date:
            return str, (plain,)
        self._is_sent = True
        return eval, (_WITH, {"code": _APPLY, "values": self._variables, "name": plain})

    def note_server(self) -> None:
        """Remember the variables of the fork server if the start of this process started it."""
        global _known
        server = fork_server()
        if server != self._server:
            _known = server, self._variables
