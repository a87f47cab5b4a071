"""The supervisor: a facade over pools, timer, loops and schedulers."""
from .supervisor import TaskSupervisor, finish_all

__all__ = ["TaskSupervisor", "finish_all"]
