"""The supervisor: a facade over pools, timer, loops and schedulers."""
from .shutdown import finish_all
from .supervisor import TaskSupervisor

__all__ = ["TaskSupervisor", "finish_all"]
