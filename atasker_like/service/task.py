"""Task: a declared, validated task that can be sent as JSON; and what becomes of it."""
from __future__ import annotations

import dataclasses

from ..constants import TASK_NORMAL
from ..errors import InvalidArgumentError, InvalidFieldError, TaskExecutionError
from .codecs.schema import Form, Misfit, check_fields, form_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, Type, TypeVar

    from typing_extensions import dataclass_transform

    T = TypeVar("T", bound="Task")
else:
    def dataclass_transform():
        return lambda kind: kind

__all__ = ["Task", "TaskResult", "TaskResultError", "TaskResultOk"]


@dataclass_transform()
class Task:
    """A task of a service: subclasses declare its fields, as those of a dataclass, which they are without a decorator.

    Arguments of :func:`dataclasses.dataclass` go behind the name of the base: ``class Move(Task, frozen=True)``. Only ``slots``
    and ``weakref_slot`` are refused.

    :raises InvalidArgumentError: (a ValueError) where the class is defined: it is to have slots, or a field has the name of
        something that tasks have themselves.
    :raises InvalidTypeError: (a TypeError) where the class is defined: a field is an ``InitVar``, which would be lost on the way.

    >>> class Calibrate(Task):
    ...     qubit: int
    ...     span: float = 1.0
    >>> Calibrate(3).display_name
    'Calibrate: qubit=3, span=1.0'
    >>> Calibrate.from_payload({'qubit': 3, 'span': 2})
    Calibrate(qubit=3, span=2.0)
    """

    if TYPE_CHECKING:       # else they would be annotations of every subclass, to be resolved in its module
        parallel: ClassVar[bool]
        priority: ClassVar[int]
        hidden_fields: Any
        _form: ClassVar[Form]
        _field_names: ClassVar[tuple[str, ...]]

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    #: True has tasks of this class start as soon as they are received; others run one at a time.
    parallel = False
    #: Among those that wait, lower runs first; any integer. A request may say otherwise.
    priority = int(TASK_NORMAL)
    #: Names of fields whose values are shown in no ``repr``, no display name and no :class:`InvalidFieldError`, which says what
    #: such a field takes, and not what it was given. A set, or a property that gives one: that is asked of the instance, and
    #: where there is none yet, in :meth:`from_payload`, such a class has all fields hidden.
    hidden_fields = frozenset()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__()
        for name in ("slots", "weakref_slot"):
            if options.get(name):
                raise InvalidArgumentError(f"{cls.__qualname__} cannot have {name}: a class with slots is another one, made after "
                                           "this one; leave it out")
        options.setdefault("repr", False)
        dataclasses.dataclass(**options)(cls)
        check_fields(cls)
        reserved = _RESERVED.intersection(field.name for field in dataclasses.fields(cls))  # type: ignore[arg-type]
        if reserved:
            raise InvalidArgumentError(f"{cls.__qualname__} has a field named {min(reserved)!r}, which tasks have themselves; "
                                       "leave out its annotation to set it for the class, or choose another name")

    @classmethod
    def type(cls) -> str:
        """Return the name by which a service knows the class: its own, unless a subclass says otherwise."""
        return cls.__name__

    @property
    def display_name(self) -> str:
        """The type and the fields, as people want to read it; hidden ones are left out."""
        hidden = self.hidden_fields
        shown = ", ".join([f"{name}={getattr(self, name)!r}" for name in _names(type(self)) if name not in hidden])
        return f"{self.type()}: {shown}" if shown else self.type()

    def payload(self) -> dict[str, Any]:
        """Return the fields as JSON holds them.

        :raises InvalidFieldError: (a ValueError) a field holds what its annotation does not allow, or JSON cannot. It does not
            show what is in a hidden field.
        """
        try:
            written: dict[str, Any] = _form(type(self)).write(self)
            return written
        except Misfit as misfit:
            raise _invalid(type(self).type(), misfit) from None
        except RecursionError:
            raise InvalidFieldError(f"{type(self).type()} cannot be sent: its fields are nested too deep, or contain "
                                    "themselves") from None

    @classmethod
    def from_payload(cls: Type[T], payload: Any) -> T:
        """Make a task of its fields as JSON holds them.

        :raises InvalidFieldError: (a ValueError) a field is missing, unknown or of a wrong type; ``.field`` names it. It does not
            show what there is for a hidden one; the text of a ``ValueError`` of the class's own is shown as it is.
        """
        try:
            task: T = _form(cls).read(payload)
            return task
        except Misfit as misfit:
            raise _invalid(cls.type(), misfit) from misfit.__cause__

    def __repr__(self) -> str:
        hidden = self.hidden_fields
        shown = ", ".join([f"{name}=..." if name in hidden else f"{name}={getattr(self, name)!r}"
                           for name in _names(type(self))])
        return f"{type(self).__qualname__.rpartition('.')[2]}({shown})"


_RESERVED = frozenset({"parallel", "priority", "hidden_fields", "display_name", "payload", "from_payload", "type"})


def _names(kind: type[Task]) -> tuple[str, ...]:
    """Return the names of a class's fields."""
    names: tuple[str, ...] | None = kind.__dict__.get("_field_names")      # not a base's
    if names is None:
        names = kind._field_names = tuple(field.name for field in dataclasses.fields(kind))     # type: ignore[arg-type]
    return names


def _form(kind: type[Task]) -> Form:
    form: Form | None = kind.__dict__.get("_form")     # not a base's
    if form is None:
        form = form_of(kind)
        kind._form = form
    return form


def _invalid(name: str, misfit: Misfit) -> InvalidFieldError:
    where = misfit.where
    return InvalidFieldError(f"field {where} of {name} {misfit.why}" if where else f"{name} {misfit.why}", where)


# -- what becomes of it ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """How a task of a service ended: a :class:`TaskResultOk` or a :class:`TaskResultError`. ``status`` says which."""

    status: str
    id: str

    @property
    def ok(self) -> bool:
        """True when the task succeeded."""
        return self.status == "ok"

    def unwrap(self) -> Any:
        """Return what the handler returned, or raise :class:`TaskExecutionError`."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class TaskResultOk(TaskResult):
    """The task succeeded: ``result`` is what its handler returned, as JSON holds it."""

    result: Any = None

    def unwrap(self) -> Any:
        """Return what the handler returned."""
        return self.result


@dataclasses.dataclass(frozen=True)
class TaskResultError(TaskResult):
    """The task failed: the name of the exception's class, its text, and the traceback."""

    ename: str = ""
    evalue: str = ""
    traceback: str = ""

    def unwrap(self) -> Any:
        """Raise :class:`TaskExecutionError`."""
        raise TaskExecutionError(self)
