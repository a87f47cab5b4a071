"""Typed tasks for services: dataclasses that are checked and sent as JSON.

>>> from atasker_like import service
>>> class Calibrate(service.Task):
...     qubit: int
...     span: float = 1.0
>>> lab = service.Service('lab')
>>> @lab.handler(Calibrate)
... def calibrate(task):
...     return {'qubit': task.qubit, 'centre': task.span / 2}
>>> with service.SyncClient(lab) as client:
...     client.execute(Calibrate(qubit=3)).result
{'qubit': 3, 'centre': 0.5}

A service runs its tasks one at a time, or in parallel where their class says so.

Names are loaded on first use: a program that only declares tasks does not load asyncio.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HOMES = {
    "..errors": ("InvalidFieldError", "ServiceConnectionError", "TaskExecutionError",
                 "TaskRefusedError"),
    ".addresses": ("Address",),
    ".sync_client": ("SyncClient", "SyncTaskFuture"),
    ".client": ("Client",),
    ".service": ("Service",),
    ".client_connection": ("TaskFuture",),
    ".server": ("Server",),
    ".task": ("Task", "TaskResult", "TaskResultError", "TaskResultOk"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(home, __name__), name)
    import_module(".._inspect", __name__).add_names(value)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
