"""Task: a declared, validated task that is sent as JSON, and its result."""
from __future__ import annotations

import dataclasses
from typing import Literal

from .._checks import ends_traceback
from .._inspect import shown
from ..constants import TASK_NORMAL
from ..errors import InvalidArgumentError, InvalidFieldError, TaskExecutionError
from .codecs.codec import Codec, FieldError
from .codecs.schema import check_fields, codec_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Any, ClassVar, NoReturn, Type, TypeVar, Union, dataclass_transform

    AnyResult = Union["TaskResultOk", "TaskResultError"]
    T = TypeVar("T", bound="Task")
else:
    def dataclass_transform():
        return lambda kind: kind


class _HiddenFields:
    """The default of ``hidden_fields``: a new set for each access."""

    def __get__(self, instance: object, owner: Any) -> set[str]:
        return {"parallel"}


@dataclass_transform()
class Task:
    """A task of a service.

    Subclasses declare its fields, and are dataclasses without a decorator.

    Arguments of :func:`dataclasses.dataclass` follow the name of the base:
    ``class Move(Task, frozen=True)``. Only ``slots`` and ``weakref_slot`` are refused.

    Any thread may make one.

    :raises InvalidArgumentError: (a ValueError) at the definition of the class: it asks for slots,
        or a field has a name that tasks use themselves.
    :raises InvalidTypeError: (a TypeError) at the definition of the class: a field is an
        ``InitVar``, which would be lost on the way.

    >>> class Calibrate(Task):
    ...     qubit: int
    ...     span: float = 1.0
    >>> Calibrate(3).display_name
    'Calibrate: qubit=3, span=1.0'
    >>> Calibrate.from_payload({'qubit': 3, 'span': 2})
    Calibrate(qubit=3, span=2.0)
    """

    # At run time these annotations would be resolved in the module of every subclass.
    if TYPE_CHECKING:
        parallel: ClassVar[bool]
        priority: ClassVar[int]
        _codec: ClassVar[Codec]
        _field_names: ClassVar[tuple[str, ...]]

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    #: True starts tasks of this class as soon as they are received. Others run one at a time.
    parallel = False
    #: The order of waiting tasks, any integer: lower runs first. A request can replace it.
    priority = int(TASK_NORMAL)
    if TYPE_CHECKING:
        @property
        def hidden_fields(self) -> set[str]: ...
    else:
        #: A set of names: no ``repr``, display name or error of a field shows the values
        #: of these fields (default: ``{'parallel'}``). A subclass sets another one, or has a
        #: property that extends ``super().hidden_fields``. A property is evaluated on the instance.
        #: :meth:`from_payload` has none yet, and hides all fields of such a class.
        hidden_fields = _HiddenFields()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__()
        for name in ("slots", "weakref_slot"):
            if options.get(name):
                raise InvalidArgumentError(f"{cls.__qualname__} cannot have {name}: a class with "
                                           "slots is another one, made after this one; leave it "
                                           "out")
        options.setdefault("repr", False)
        try:
            dataclasses.dataclass(**options)(cls)
        except ValueError as error:
            # A set as the default of a field named hidden_fields is refused before the name is.
            if "field hidden_fields " in str(error):
                raise _reserved(cls, "hidden_fields") from None
            raise
        check_fields(cls)
        fields = dataclasses.fields(cls)        # type: ignore[arg-type]
        cls._field_names = tuple(field.name for field in fields)
        reserved = _RESERVED.intersection(field.name for field in fields)
        if reserved:
            raise _reserved(cls, min(reserved))

    @classmethod
    def type(cls) -> str:
        """Return the type name for services (default: the class name)."""
        return cls.__name__

    @property
    def display_name(self) -> str:
        """The type and the fields as readable text, without hidden fields."""
        hidden = self.hidden_fields
        names = [name for name in self._field_names if name not in hidden]
        try:                # a client does this for each request, so the faster way comes first
            fields = ", ".join([f"{name}={getattr(self, name)!r}" for name in names])
        except BaseException:
            fields = ", ".join([f"{name}={shown(getattr(self, name))}" for name in names])
        return f"{self.type()}: {fields}" if fields else self.type()

    def payload(self) -> dict[str, Any]:
        """Return the fields as JSON data.

        :raises InvalidFieldError: (a ValueError) the value of a field does not fit its annotation,
            or JSON cannot hold it. The error does not show the value of a hidden field.
        """
        try:
            payload: dict[str, Any] = _codec(type(self)).encode(self)
            return payload
        except FieldError as error:
            raise _invalid(type(self).type(), error) from None
        except RecursionError:
            raise InvalidFieldError(f"{type(self).type()} cannot be sent: its fields are nested "
                                    "too deep, or contain themselves") from None

    @classmethod
    @ends_traceback
    def from_payload(cls: Type[T], payload: Any) -> T:
        """Return a task with the fields of JSON data.

        :param payload: a dict with the fields.
        :raises InvalidFieldError: (a ValueError) a field is missing, unknown or of a wrong type;
            ``.field`` names it. The error does not show the value of a hidden field, but it shows
            the text of a ``ValueError`` that the class itself raises.
        """
        try:
            task: T = _codec(cls).decode(payload)
            return task
        except FieldError as error:
            raise _invalid(cls.type(), error) from error.__cause__

    def __repr__(self) -> str:
        hidden = self.hidden_fields
        fields = ", ".join([f"{name}={'...' if name in hidden else shown(getattr(self, name))}"
                            for name in self._field_names])
        return f"{type(self).__qualname__.rpartition('.')[2]}({fields})"


_RESERVED = frozenset({"parallel", "priority", "hidden_fields", "display_name", "payload",
                       "from_payload", "type"})


def _reserved(kind: type[Task], name: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{kind.__qualname__} has a field named {name!r}, which tasks have "
                                "themselves; leave out its annotation to set it for the class, or "
                                "choose another name")


def _codec(kind: type[Task]) -> Codec:
    codec: Codec | None = kind.__dict__.get("_codec")      # not that of a base
    if codec is None:
        codec = kind._codec = codec_for(kind)
    return codec


def _invalid(name: str, error: FieldError) -> InvalidFieldError:
    subject = f"field {error.path} of {name}" if error.path else name
    return InvalidFieldError(f"{subject} {error}", error.path)


# -- results ---------------------------------------------------------------------------------------


class TaskResult:
    """The result of a service's task.

    It is a :class:`TaskResultOk` or a :class:`TaskResultError`. ``id`` is the id of the task,
    ``status`` is ``'ok'`` or ``'error'``. It does not change, and any thread may use it.

    >>> from atasker_like.service import TaskResultOk
    >>> result = TaskResultOk(id='1', result=5)
    >>> result.ok, result.unwrap()
    (True, 5)
    """

    if TYPE_CHECKING:
        id: str
        status: str

    def __post_init__(self) -> None:
        if self.status != type(self).status:
            raise InvalidArgumentError(f"the status of a {type(self).__name__} is "
                                       f"{type(self).status!r}, not {self.status!r}")

    @property
    def ok(self) -> bool:
        """True if the task succeeded."""
        return self.status == "ok"

    def unwrap(self) -> Any:
        """Return the value of the handler, or raise TaskExecutionError."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class TaskResultOk(TaskResult):
    """The task succeeded: ``result`` is the value of its handler as JSON data.

    It does not change, and any thread may use it.

    >>> TaskResultOk(id='1', result=5)
    TaskResultOk(id='1', result=5, status='ok')
    """

    id: str
    result: Any
    status: Literal["ok"] = "ok"

    def unwrap(self) -> Any:
        """Return the value that the handler returned."""
        return self.result


@dataclasses.dataclass(frozen=True)
class TaskResultError(TaskResult):
    """The task failed: the exception's class name, text and traceback.

    It does not change, and any thread may use it.

    >>> TaskResultError(id='1', ename='ValueError', evalue='bad', traceback='').ok
    False
    """

    id: str
    ename: str
    evalue: str
    traceback: str
    status: Literal["error"] = "error"

    def unwrap(self) -> NoReturn:
        """Return nothing: raise the error.

        :raises TaskExecutionError: (a RuntimeError) in any case.
        """
        raise TaskExecutionError(self)
