"""What ``stats().display()`` and ``get_info().display()`` print."""
from __future__ import annotations

from time import localtime, perf_counter, strftime

from .._display import columns_of, cut, duration, show, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

    from ..engine.task import Task


#: The most tasks that are listed.
_TASKS = 20

_COUNTS = ("waiting", "delayed", "active", "submitted", "succeeded", "failed", "cancelled")
#: Counts that are left out if they are 0 in each pool.
_RARE = ("abandoned", "retried", "dropped")
_TIMES = (("median", "p50"), ("90 %", "p90"), ("99 %", "p99"), ("longest", "max"))


def show_stats(stats: Any, file: Any) -> None:
    """Print a table of the ``Stats`` with a column for each pool."""
    pools: dict[str, Any] = {}
    for name in ("thread", "process", "coroutine"):
        pool = getattr(stats, name)
        if pool is not None:
            pools[name] = pool
    names = [*_COUNTS, *(name for name in _RARE
                         if any(getattr(pool, name) for pool in pools.values()))]
    rows = [[name, *(f"{getattr(pool, name):,}" for pool in pools.values())] for name in names]
    for what, title in (("wait", "waited"), ("run", "ran")):
        times = [[f"{title}, {text}", *(getattr(pool, what)[key] for pool in pools.values())]
                 for text, key in _TIMES]
        rows += [[text, *map(duration, values)] for text, *values in times
                 if values.count(None) < len(values)]
    show(table(["", *pools], rows, columns_of(file)), file)


def show_info(info: Any, file: Any) -> None:
    """Print the ``Info``: the state, the pools, loops and schedulers, and the live tasks."""
    from textwrap import wrap

    width = columns_of(file)
    state = [f"supervisor {info.id}:", "running" if info.active else "not running"]
    if info.active and type(info.started) is float:
        state.append(strftime("since %Y-%m-%d %H:%M:%S", localtime(info.started)))
    lines = [*wrap(" ".join(state), max(width, 3), subsequent_indent="  "), "",
             *table(("pool", "running", "slots", "for NORMAL", "for HIGH"), _pools(info), width,
                    drop=(3, 4))]
    for title, things in (("loops", info.aloops), ("workers", info.schedulers),
                          ("job schedulers", info.async_job_schedulers)):
        if things:
            names = ", ".join(str(getattr(thing, "name", thing)) for thing in things)
            lines.append(cut(f"{title}: {names}", width))
    tasks = list(info.tasks.values())
    if tasks:
        rows = [_task(task) for task in sorted(tasks, key=_order)[:_TASKS]]
        lines += ["", *table(("task", "id", "state", "priority", "for"), rows, width, drop=(3,),
                             left=(0, 1, 2))]
        if len(tasks) > _TASKS:
            lines.append(cut(f"and {len(tasks) - _TASKS:,} more", width))
    show(lines, file)


def _pools(info: Any) -> list[Sequence[str]]:
    rows = []
    for name, title in (("thread", "threads"), ("mp", "processes")):
        sizes = [getattr(info, f"{name}_{size}") for size in ("pool_size", "reserve_normal",
                                                              "reserve_high")]
        if None not in sizes:
            rows.append((title, f"{getattr(info, f'{name}_tasks_count'):,}",
                         f"{sizes[0]:,}" if sizes[0] else "any", f"+{sizes[1]:,}",
                         f"+{sizes[2]:,}"))
    return rows     # type: ignore[return-value]


def _since(task: Task[Any]) -> float:
    return task._started if task._has_started() else task._queued


def _order(task: Task[Any]) -> tuple[bool, float]:
    """Running tasks first, and of each kind the oldest one."""
    return not task.is_started(), _since(task)


def _task(task: Task[Any]) -> tuple[str, ...]:
    return (task.name, task.short_id, task.state, str(int(task.priority)),
            duration(perf_counter() - _since(task)))
