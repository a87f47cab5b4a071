"""Keyword arguments of queues, for type checkers. Nothing imports this module at run time."""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import (Any, AsyncIterable, Callable, Coroutine, Iterable, Literal,
                                   Mapping, Protocol, Sequence, Tuple, Union, Unpack)

    from .._generics import A, A_contra, B, B_contra, R, R_co, Ts
    from .._progress import ShowProgress
    from ..engine.result import TaskResult
    from ..engine.task import Task
    from ..options import Options, TaskOptions
    from ..supervisor.supervisor import TaskSupervisor
    from .checkpoint import Checkpoint

    FailPolicy = Literal["continue", "fail_first"]
    Mode = Literal["finite", "infinite"]
    OnTimeout = Literal["complete", "cancel"]

    #: Items of ``map``: tuples are unpacked, mappings are keyword arguments.
    Tuples = Iterable["tuple[Unpack[Ts]]"]
    Keywords = Iterable[Mapping[str, Any]]
    Mixed = Iterable[Union[A, Tuple[A, B], Mapping[str, Any]]]
    AsyncTuples = AsyncIterable["tuple[Unpack[Ts]]"]
    AsyncKeywords = AsyncIterable[Mapping[str, Any]]

    #: What the function of an AsyncQueue returns: a coroutine, or the task of a bound task.
    Pending = Union[Coroutine[Any, Any, R], Task[R]]

    class SubmitOptions(Options, total=False):
        """The keyword arguments of ``submit``."""

        opts: TaskOptions | None

    class MapOptions(SubmitOptions, total=False):
        """The keyword arguments of ``map``."""

        checkpoint: Checkpoint | None
        key: Callable[[Any], Any] | None
        namespace: str | None
        keep_items: bool

    class ScriptOptions(MapOptions, total=False):
        """The keyword arguments of ``tmap``, ``pmap`` and ``amap``."""

        progress: ShowProgress
        workers: int | None
        size: int
        fail_policy: FailPolicy
        on_timeout: OnTimeout
        rate: float | None
        burst: int
        initializer: Callable[..., Any] | None
        initargs: Sequence[Any]
        on_start: Callable[[Any], Any] | None
        on_complete: Callable[[TaskResult], Any] | None
        on_retry: Callable[[Any, BaseException], Any] | None
        supervisor: TaskSupervisor | None
        pool_priority: int

    class Positional(Protocol[Unpack[Ts], R_co]):
        """A bound task whose function can be called with these arguments."""

        @property
        def __wrapped__(self) -> Callable[[Unpack[Ts]], R_co]: ...

    class TakesOneOrTwo(Protocol[A_contra, B_contra, R_co]):
        """A function that can be called with one argument, and with two."""

        def __call__(self, first: A_contra, second: B_contra = ..., /) -> R_co: ...
