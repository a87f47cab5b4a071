"""QueueTask: a function whose calls are tasks of a queue."""
from __future__ import annotations

from .._checks import cut_frames, ends_traceback
from .._generics import Generic, P, T_co
from .._inspect import name_of, open_parameters
from ..engine.spec import Decorated
from ..errors import SupervisorError, TaskPicklingError
from ..options import TaskOptions
from .calls import check_names, merge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Any, Awaitable, Callable, Iterable, Protocol, Unpack

    from ..options import Options
    from .handles import TaskHandle

    class Submits(Protocol):
        """A queue, as far as its bound tasks must know it."""

        @property
        def map(self) -> Callable[..., list[Any]]: ...

        @property
        def group(self) -> Callable[..., Any]: ...

        def _option_owner(self) -> str: ...

        def _submit_call(self, function: Callable[..., Any], options: TaskOptions,
                         args: tuple[Any, ...], keywords: dict[str, Any] | None) -> Any: ...

        def _asubmit_call(self, function: Callable[..., Any], options: TaskOptions,
                          args: tuple[Any, ...], keywords: dict[str, Any] | None) -> Any: ...


_NAMES = frozenset(TaskOptions.__slots__)


class QueueTask(Generic[P, T_co], Decorated):
    """The task that ``@queue.task(**options)`` makes. A call submits and returns a handle.

    May be called from any thread. Keywords of a call that are names of options override them for
    that call; all other keywords are the function's. If the function has a parameter of such a
    name, the call is refused. Then :meth:`options` gives the option, and leaves all keywords of the
    call to the function. ``opts=``, a :class:`TaskOptions`, does the same for the parameters of the
    function.

    >>> queue = ThreadQueue()
    >>> @queue.task
    ... def connect(host, timeout=5):
    ...     return host, timeout
    >>> handles = connect.options(timeout=30)('a'), connect.options()('b', timeout=9)
    >>> queue.run().values
    (('a', 5), ('b', 9))
    """

    __slots__ = ("queue", "opts", "_untouched")

    def __init__(self, queue: Submits, function: Callable[..., Any], options: TaskOptions,
                 untouched: bool = False) -> None:
        super().__init__(function)
        self.queue: Submits = queue
        #: The options of the calls.
        self.opts: TaskOptions = options
        self._untouched = untouched     # all keywords of a call are the function's

    @ends_traceback
    def options(self, opts: TaskOptions | None = None,
                **changes: Unpack[Options]) -> QueueTask[P, T_co]:
        """Return a copy with other options, whose calls leave all keywords to the function.

        :param opts: the options to begin with (default: those of this task).
        """
        options = merge(self.opts if opts is None else opts, changes, self.queue._option_owner())
        return QueueTask(self.queue, self._function, options, True)

    if TYPE_CHECKING:
        @property
        def __wrapped__(self) -> Callable[P, T_co]: ...

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        try:
            options = self._take_options(args, keywords)
            return self.queue._submit_call(self._function, options, args, keywords or None)
        except SupervisorError as error:
            cut_frames(error)
            raise

    @ends_traceback
    def asubmit(self, *args: Any, **keywords: Any) -> Awaitable[TaskHandle[T_co]]:
        """Submit a call to an AsyncQueue, and wait for room if the queue is full.

        See :meth:`AsyncQueue.asubmit`.

        :return: the handle, when it is awaited.
        """
        options = self._take_options(args, keywords)
        submit: Callable[..., Awaitable[TaskHandle[T_co]]] = self.queue._asubmit_call
        return submit(self._function, options, args, keywords or None)

    def _take_options(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> TaskOptions:
        """Remove the options from the keywords of a call, and return the options of the call."""
        if not keywords or self._untouched:
            return self.opts
        names = [name for name in keywords if name in _NAMES or name == "opts"]
        if not names:
            return self.opts
        options = self.opts
        own = open_parameters(self._function, len(args))
        if "opts" in names and "opts" not in own:
            options = keywords.pop("opts")
            names = [name for name in names if name in keywords and name not in own]
        else:
            check_names(self._function, own, names,
                        "give the option with .options({0}=...) before the call, or as "
                        "opts=TaskOptions({0}=...), and the "
                        "parameter as a keyword of such a call")
        return merge(options, {name: keywords.pop(name) for name in names}, "a task of a queue")

    def _with(self, function: Callable[..., Any]) -> QueueTask[P, T_co]:
        return QueueTask(self.queue, function, self.opts, self._untouched)

    def _changes_to(self, found: QueueTask[P, T_co]) -> dict[str, Any]:
        if found.queue is not self.queue or found.opts is not self.opts:
            raise TaskPicklingError(f"{self!r} cannot be pickled: under its name, another process "
                                    f"finds {found!r} with other options, or of another queue")
        return {}

    def map(self, items: Iterable[Any], **options: Any) -> list[Any]:
        """Submit a call for each item and return the handles, in order.

        See :meth:`ThreadQueue.map`.

        :param items: as for :meth:`ThreadQueue.map`; options are keywords.
        """
        try:
            return self.queue.map(self._function, items, **{"opts": self.opts, **options})
        except SupervisorError as error:
            cut_frames(error)
            raise

    def group(self, items: Iterable[Any], **options: Any) -> Any:
        """Submit a call for each item and return them as a group. See :meth:`ThreadQueue.group`.

        :param items: as for :meth:`ThreadQueue.map`; options are keywords.
        """
        try:
            return self.queue.group(self._function, items, **{"opts": self.opts, **options})
        except SupervisorError as error:
            cut_frames(error)
            raise

    def __repr__(self) -> str:
        return f"<task {name_of(self._function)} of {self.queue!r}>"
