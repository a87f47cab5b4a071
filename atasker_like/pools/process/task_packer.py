"""Pickles the function and the arguments of tasks for pool processes."""
from __future__ import annotations

from sys import is_finalizing

from ..._inspect import described
from ...errors import SupervisorStoppedError, TaskPicklingError
from . import child
from .child import LARGE
from .main_module import names_main, why_not_importable
from .protocol import not_sent
from .serializer import use_cloudpickle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from ...engine.task import Task
    from .serializer import Serializer

    class PackingPool(Protocol):
        """The pool, as its packer uses it."""

        start_method: str | None


class TaskPacker:
    """Pickles the tasks of one pool."""

    def __init__(self, pool: PackingPool) -> None:
        self._pool = pool
        self.use(None)

    def use(self, serializer: Serializer | None) -> None:
        """Have a serializer pickle from now on; None is pickle."""
        self.serializer: Serializer | None = serializer
        self._pickle_parts = (child.pickle_parts if serializer is None
                              else serializer.pickle_parts)

    def pack(self, task: Task[Any]) -> BaseException | None:
        """Pickle the function and the arguments of a task; return an error or None. (no lock)"""
        spec = task._spec
        what = "function"
        if is_finalizing():     # modules are gone: pickle would fail, and crashes Python 3.8
            return SupervisorStoppedError("the interpreter is being finalized, and no task would "
                                          "run; submit earlier")
        try:
            if spec.pickled_target is None:
                if self.serializer is None:
                    blob = child.pickle_target(spec.target)
                    keeps = child.is_stateless(spec.target)
                    error = self._not_importable(task, blob)
                    if error is not None:
                        return error
                else:
                    blob, keeps = self.serializer.pickle_target(spec.target)
                if keeps:
                    spec.pickled_target = blob
                else:
                    task._extra_fields().placement = blob     # it may differ at the next call
            args, kwargs = task._args, task._kwargs
            if not args and not kwargs:
                task._context = None        # no context variables, which a task of a thread has
                return None
            what = "arguments"
            parts, raws = self._pickle_parts((args, kwargs),
                                             [*args, *kwargs.values()] if kwargs else args)
            if not raws and len(parts) == 1 and len(parts[0]) < LARGE:
                task._context = parts[0]
            else:
                # These follow the entry in the frame: small buffers, then the pickle.
                from .buffers import lay_out

                positions, inline, outgoing = lay_out(raws)
                task._context = (positions, [*inline, *parts], outgoing)
            return None
        except (Exception, SystemExit) as raised:
            more = use_cloudpickle(described(raised)) if self.serializer is None else ""
            return not_sent(what, spec.name, "a process", raised, more)

    def _not_importable(self, task: Task[Any], blob: bytes) -> TaskPicklingError | None:
        """Return an error if no process can import the main module that defines the function."""
        if self._pool.start_method == "fork" or not names_main(blob):
            return None
        source = why_not_importable()
        if source is None:
            return None
        fork = (", or call set_mp_pool(start_method='fork') first"
                if source.endswith(("notebook", "session")) else "")
        return TaskPicklingError(
            f"the function of task {task.name} cannot be sent to a process: it is defined in "
            f"{source}, which a new process cannot import; move it to a module (a .py file){fork}"
            f"{use_cloudpickle()}")
