"""The supervisor: a facade over pools, timer, loops and schedulers."""
from ..engine.result import log_unseen
from .interpreter_exit import finish_all
from .supervisor import TaskSupervisor

__all__ = ["TaskSupervisor", "finish_all", "log_unseen"]
