"""Bound tasks of the kinds of queues, for type checkers.

Nothing imports this module at run time.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Awaitable, Callable, Generic, Iterable, Protocol, overload

    from typing_extensions import Concatenate, Self, TypeVar, Unpack

    from .._generics import A, A_contra, B, B_contra, C, C_contra, P, Q, R, R_co, T_co, Ts
    from ..options import Options, TaskOptions
    from ..tasks import BoundTask
    from .bound import QueueTask
    from .groups import SyncTaskGroup, TaskGroup
    from .handles import SyncTaskHandle, TaskHandle
    from .signatures import Keywords, MapOptions, Pending, Positional, SubmitOptions, Tuples

    D = TypeVar("D")
    D_contra = TypeVar("D_contra", contravariant=True)
    #: The handles and the groups of a bound task.
    H_co = TypeVar("H_co", covariant=True, default=Any)
    G_co = TypeVar("G_co", covariant=True, default=Any)

    class Binds(Protocol[A_contra, Q, R_co]):
        """A bound task whose function has a first argument to which it can be bound."""

        @property
        def __wrapped__(self) -> Callable[Concatenate[A_contra, Q], R_co]: ...

    class Takes0(Protocol[R_co]):
        """A bound task whose function can be called with no argument."""

        @property
        def __wrapped__(self) -> Callable[[], R_co]: ...

    class Takes1(Protocol[A_contra, R_co]):
        """A bound task whose function can be called with one argument."""

        @property
        def __wrapped__(self) -> Callable[[A_contra], R_co]: ...

    class Takes2(Protocol[A_contra, B_contra, R_co]):
        """A bound task whose function can be called with 2 arguments."""

        @property
        def __wrapped__(self) -> Callable[[A_contra, B_contra], R_co]: ...

    class Takes3(Protocol[A_contra, B_contra, C_contra, R_co]):
        """A bound task whose function can be called with 3 arguments."""

        @property
        def __wrapped__(self) -> Callable[[A_contra, B_contra, C_contra], R_co]: ...

    class Takes4(Protocol[A_contra, B_contra, C_contra, D_contra, R_co]):
        """A bound task whose function can be called with 4 arguments."""

        @property
        def __wrapped__(self) -> Callable[[A_contra, B_contra, C_contra, D_contra], R_co]: ...

    class TakesCalls(Protocol[P, T_co, H_co]):
        """What takes the calls of a bound task, with the type that a call returns."""

        @property
        def __wrapped__(self) -> Callable[P, T_co]: ...

        @overload
        def __call__(self, *args: P.args, **keywords: P.kwargs) -> H_co: ...

        @overload
        def __call__(self, *args: Any, opts: TaskOptions, **keywords: Any) -> H_co: ...

        @overload
        def __call__(self: Takes0[R], **options: Unpack[SubmitOptions]) -> H_co: ...

        @overload
        def __call__(self: Takes1[A, R], a: A, /, **options: Unpack[SubmitOptions]) -> H_co: ...

        @overload
        def __call__(self: Takes2[A, B, R], a: A, b: B, /,
                     **options: Unpack[SubmitOptions]) -> H_co: ...

        @overload
        def __call__(self: Takes3[A, B, C, R], a: A, b: B, c: C, /,
                     **options: Unpack[SubmitOptions]) -> H_co: ...

        @overload
        def __call__(self: Takes4[A, B, C, D, R], a: A, b: B, c: C, d: D, /,
                     **options: Unpack[SubmitOptions]) -> H_co: ...

    class TypedQueueTask(TakesCalls[P, T_co, H_co], QueueTask[P, T_co],
                         Generic[P, T_co, H_co, G_co]):
        """A bound task, with the types of its handles and of its groups."""

        @overload
        def __get__(self: Binds[A, Q, R], instance: None,
                    owner: A) -> TypedQueueTask[Q, R, H_co, G_co]: ...

        @overload
        def __get__(self, instance: None, owner: Any = None) -> Self: ...

        @overload
        def __get__(self: Binds[A, Q, R], instance: A,
                    owner: Any = None) -> TypedQueueTask[Q, R, H_co, G_co]: ...

        @overload
        def __get__(self: Binds[A, Q, R], instance: object,
                    owner: A) -> TypedQueueTask[Q, R, H_co, G_co]: ...

        @overload
        def __get__(self, instance: object, owner: Any = None) -> Self: ...

        def __get__(self, instance: Any, owner: Any = None) -> Any: ...

        @property
        def asubmit(      # type: ignore[override]
                self) -> TakesCalls[P, T_co, Awaitable[H_co]]: ...

        def options(self, opts: TaskOptions | None = None,
                    **changes: Unpack[Options]) -> Self: ...

        @overload     # type: ignore[override]
        def map(self: Positional[Unpack[Ts], R], items: Tuples[Unpack[Ts]],
                **options: Unpack[MapOptions]) -> list[H_co]: ...

        @overload
        def map(self: Takes1[A, R], items: Iterable[A],
                **options: Unpack[MapOptions]) -> list[H_co]: ...

        @overload
        def map(self, items: Keywords, **options: Unpack[MapOptions]) -> list[H_co]: ...

        def map(self, *args: Any, **options: Any) -> Any: ...

        @overload     # type: ignore[override]
        def group(self: Positional[Unpack[Ts], R], items: Tuples[Unpack[Ts]],
                  **options: Unpack[MapOptions]) -> G_co: ...

        @overload
        def group(self: Takes1[A, R], items: Iterable[A],
                  **options: Unpack[MapOptions]) -> G_co: ...

        @overload
        def group(self, items: Keywords, **options: Unpack[MapOptions]) -> G_co: ...

        def group(self, *args: Any, **options: Any) -> Any: ...

    #: The bound task of a ThreadQueue or a ProcessQueue.
    SyncQueueTask = TypedQueueTask[Q, R, SyncTaskHandle[R], SyncTaskGroup[R]]

    #: The bound task of an AsyncQueue.
    AsyncQueueTask = TypedQueueTask[Q, R, TaskHandle[R], TaskGroup[R]]

    class MakesSyncQueueTask(Protocol):
        """The decorator that ``task(**options)`` returns."""

        @overload
        def __call__(self, function: QueueTask[Q, R] | BoundTask[Q, R],
                     /) -> SyncQueueTask[Q, R]: ...

        @overload
        def __call__(self, function: Callable[Q, R], /) -> SyncQueueTask[Q, R]: ...

    class MakesAsyncQueueTask(Protocol):
        """The decorator that ``task(**options)`` returns."""

        @overload
        def __call__(self, function: QueueTask[Q, R], /) -> AsyncQueueTask[Q, R]: ...

        @overload
        def __call__(self, function: Callable[Q, Pending[R]], /) -> AsyncQueueTask[Q, R]: ...
