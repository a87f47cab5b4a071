"""The codec of a type annotation, made from the codecs of its parts.

::

    dataclass, dict     an object       Enum        its value if that is a scalar, else its name
    list, tuple, set    an array        Literal     the value
                                        Union       as the first member that fits
"""
from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import types
import typing

from ..._atomics import RLock
from ..._checks import nearest
from ..._inspect import text_of
from ...errors import InvalidTypeError
from .codec import MAX_SHOWN, SCALARS, Codec, FieldError, in_one_line, mismatch
from .containers import ARRAYS, OBJECTS, ArrayCodec, ObjectCodec, TupleCodec
from .scalars import ANY, SIMPLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Sequence


# -- choices ---------------------------------------------------------------------------------------


class _ChoiceCodec(Codec):
    """Some values, each with its own scalar in JSON."""

    def __init__(self, name: str, wanted: str, values: Iterable[tuple[Any, Any]]) -> None:
        super().__init__(name, generality=1)
        self._wanted = wanted
        self._values = {_key(encoded): value for encoded, value in values}

    def decode(self, value: Any) -> Any:
        try:
            return self._values[_key(value)]
        except (KeyError, TypeError):
            mismatch(self._wanted, value)


def _key(value: Any) -> tuple[type, Any]:
    # True == 1 and 1.0 == 1, but they are not the same in JSON.
    return type(value), value


@functools.lru_cache(256)
def is_by_value(kind: type[enum.Enum]) -> bool:
    """Return True if members are encoded by value, False if by name."""
    return all(type(member.value) in SCALARS for member in kind)


class EnumCodec(_ChoiceCodec):
    def __init__(self, kind: type[enum.Enum]) -> None:
        self._kind = kind
        self._attribute = "value" if is_by_value(kind) else "name"
        members = [(getattr(member, self._attribute), member) for member in kind]
        wanted = f"one of {', '.join(repr(encoded) for encoded, _ in members)}"
        super().__init__(kind.__name__, wanted, members)

    def encode(self, value: Any) -> Any:
        if not isinstance(value, self._kind):
            mismatch(f"a {self.name}", value)
        encoded = getattr(value, self._attribute)
        if _key(encoded) not in self._values:       # a combination of flags
            raise FieldError(f"takes a member of {self.name}", f", which {value!r} is not")
        return encoded


class LiteralCodec(_ChoiceCodec):
    def __init__(self, values: Sequence[Any]) -> None:
        pairs = [(codec_for(type(value)).encode(value), value) for value in values]
        self._encoded = {_key(value): encoded for encoded, value in pairs}
        wanted = f"one of {', '.join(map(repr, values))}"
        super().__init__(wanted, wanted, pairs)

    def encode(self, value: Any) -> Any:
        try:
            return self._encoded[_key(value)]
        except (KeyError, TypeError):
            mismatch(self._wanted, value)


# -- unions ----------------------------------------------------------------------------------------


def _union_codec(members: Sequence[Any]) -> Codec:
    codecs = sorted(map(codec_for, members), key=lambda codec: codec.generality)
    if len(codecs) == 2 and codecs[0] is SIMPLE[None]:
        return OptionalCodec(codecs[1])
    return UnionCodec(codecs)


class OptionalCodec(Codec):
    def __init__(self, codec: Codec) -> None:
        super().__init__(f"{codec.name} or None", codec.generality)
        self._codec = codec

    def decode(self, value: Any) -> Any:
        return None if value is None else self._codec.decode(value)

    def encode(self, value: Any) -> Any:
        return None if value is None else self._codec.encode(value)


class UnionCodec(Codec):
    """Uses the first member that fits, in order of generality."""

    def __init__(self, codecs: Sequence[Codec]) -> None:
        super().__init__(" or ".join(codec.name for codec in codecs),
                         max(codec.generality for codec in codecs))
        self._codecs = codecs
        self._decoders = [codec.decode for codec in codecs]
        self._encoders = [codec.encode for codec in codecs]

    def decode(self, value: Any) -> Any:
        return self._first_match(self._decoders, value)[1]

    def encode(self, value: Any) -> Any:
        encoder, encoded = self._first_match(self._encoders, value)
        decoder, back = self._first_match(self._decoders, encoded)
        if _is_same(value, back):
            return encoded
        if encoder == decoder and not any(_round_trips(codec, value) for codec in self._codecs):
            return encoded
        # Two members look alike in JSON: do not send what would arrive as another value.
        raise FieldError(f"takes {self.name}, and nothing that would arrive as another of them; "
                         "use a dataclass with a Literal field that tells them apart",
                         f": {value!r:.{MAX_SHOWN}} would arrive as {back!r:.{MAX_SHOWN}}")

    def _first_match(self, converts: Sequence[Callable[[Any], Any]], value: Any) -> tuple[int, Any]:
        """Return the index of the first matching member, and the new value."""
        inner_errors: list[FieldError] = []
        for index, convert in enumerate(converts):
            try:
                return index, convert(value)
            except FieldError as error:
                if error.path:
                    inner_errors.append(error)
        if len(inner_errors) == 1:      # one member nearly fits: its own error says more
            raise inner_errors[0]
        mismatch(self.name, value)


def _is_same(value: Any, back: Any) -> bool:
    """Return True if a value is the same after encoding and decoding."""
    if type(back) is not type(value) and not isinstance(value, type(back)):
        return False
    try:
        return bool(back == value or back != back)
    except (ArithmeticError, TypeError, ValueError):    # a signaling NaN, or the application's own
        return False


def _round_trips(codec: Codec, value: Any) -> bool:
    try:
        return _is_same(value, codec.decode(codec.encode(value)))
    except FieldError:
        return False


# -- dataclasses -----------------------------------------------------------------------------------


def check_fields(kind: Any) -> None:
    """Refuse a dataclass that does not keep all of its fields.

    :raises InvalidTypeError: a field is an ``InitVar``.
    """
    for name, field in kind.__dataclass_fields__.items():
        if field._field_type is _INIT_VAR:
            raise InvalidTypeError(f"field {name!r} of {kind.__qualname__} is an InitVar, "
                                   "which the class does not keep: it would be lost on the way; "
                                   "make it a field like the others")


_INIT_VAR: Any = getattr(dataclasses, "_FIELD_INITVAR", object())   # not part of fields()


class DataclassCodec(Codec):
    """A dataclass. Its fields are known only after :meth:`resolve`."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind.__name__)
        self._kind = kind
        #: Name, decode() and encode() of each field, and True if it has no default.
        self._fields: list[tuple[str, Callable[[Any], Any], Callable[[Any], Any], bool]] = []

    def resolve(self) -> None:
        """Find the codecs of the fields.

        :raises InvalidTypeError: JSON cannot hold the type of a field.
        """
        kind = self._kind
        check_fields(kind)
        try:
            hints = typing.get_type_hints(kind, localns={kind.__name__: kind})
        except Exception as error:
            raise InvalidTypeError(f"the annotations of {kind.__qualname__} cannot be resolved: "
                                   f"{error}; the types must be known in its module when the class "
                                   "is first used, and on this Python") from error
        for field in dataclasses.fields(kind):
            if field.init:
                try:
                    codec = codec_for(hints[field.name])
                except InvalidTypeError as error:
                    raise InvalidTypeError(f"field {field.name!r} of {kind.__qualname__}: "
                                           f"{error}") from None
                required = (field.default is dataclasses.MISSING
                            and field.default_factory is dataclasses.MISSING)
                self._fields.append((field.name, codec.decode, codec.encode, required))

    def decode(self, value: Any) -> Any:
        if type(value) is not dict:
            mismatch(f"an object with the fields of {self.name}", value)
        values = {}
        for name, decode, _, required in self._fields:
            if name in value:
                try:
                    values[name] = decode(value[name])
                except FieldError as error:
                    raise _at_field(error, self._kind, name)
            elif required:
                raise FieldError(f"is missing: {self.name} has no default for it").at(f".{name}")
        if len(values) != len(value):
            raise self._unknown_field(value)
        try:
            return self._kind(**values)
        except (TypeError, ValueError, ArithmeticError, LookupError, AssertionError) as error:
            # The class has refused the values, such as in its __post_init__.
            raise FieldError("is refused", f": {in_one_line(text_of(error))}") from error

    def encode(self, value: Any) -> Any:
        if not isinstance(value, self._kind):
            mismatch(f"a {self.name}", value)
        if type(value) is not self._kind:
            raise FieldError(f"takes a {self.name}, not its subclass {type(value).__name__}, "
                             "of which fields would be lost")
        encoded = {}
        for name, _, encode, _ in self._fields:
            try:
                encoded[name] = encode(getattr(value, name))
            except FieldError as error:
                raise _at_field(error, value, name)
        return encoded

    def _unknown_field(self, value: dict[str, Any]) -> FieldError:
        names = [name for name, *_ in self._fields]
        name = next(name for name in value if name not in names)
        hint = nearest(name[:MAX_SHOWN], names, f"its fields are {', '.join(names) or 'none'}")
        step = f"[{name!r:.{MAX_SHOWN}}]"
        if name.isidentifier() and name.isprintable():      # the name is untrusted
            step = f".{name:.{MAX_SHOWN}}"
        return FieldError(f"is not a field of {self.name}; {hint}").at(step)


def _at_field(error: FieldError, owner: Any, name: str) -> FieldError:
    """Add the name of a field to the path of an error, and return the error.

    The value is removed if the owner hides the field. The owner is an instance, or the class if
    there is no instance yet: a property of the class may then hide the field.
    """
    try:
        hidden = getattr(owner, "hidden_fields", ())
        if not isinstance(hidden, collections.abc.Collection) or name in hidden:
            error.hide()
    except Exception:                       # the property may rely on the value that does not fit
        error.hide()
    return error.at(f".{name}")


_dataclass_codecs: dict[Any, DataclassCodec] = {}   # guarded by _lock
_lock = RLock()       # guards _dataclass_codecs


def _dataclass_codec(kind: Any) -> DataclassCodec:
    with _lock:
        codec = _dataclass_codecs.get(kind)
        if codec is None:
            known = len(_dataclass_codecs)
            # Registered before it is resolved: a class may have fields of its own type.
            codec = _dataclass_codecs[kind] = DataclassCodec(kind)
            try:
                codec.resolve()
            except BaseException:
                # The codecs of its fields, registered since, may refer to this one.
                for added in list(_dataclass_codecs)[known:]:
                    del _dataclass_codecs[added]
                raise
        return codec


# -- any annotation --------------------------------------------------------------------------------


def codec_for(annotation: Any) -> Codec:
    """Return the codec for values of a type.

    :raises InvalidTypeError: (a TypeError) JSON cannot hold values of the type.
    """
    try:
        simple = SIMPLE.get(annotation)
    except TypeError:                       # not hashable, so not a type
        raise _no_codec(annotation) from None
    if simple is not None:
        return simple
    supertype = getattr(annotation, "__supertype__", None)      # a NewType
    if supertype is not None:
        return codec_for(supertype)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is not None and hasattr(annotation, "__metadata__"):      # Annotated
        return codec_for(arguments[0])
    if origin in _UNIONS:
        return _union_codec(arguments)
    if origin is typing.Literal:
        return LiteralCodec(arguments)
    plain = origin or annotation
    if plain is tuple:
        return _tuple_codec(annotation, origin, arguments)
    if plain in ARRAYS or plain in OBJECTS:
        # On Python 3.8 the argument of a bare List is a TypeVar.
        codecs = [codec_for(argument) for argument in arguments
                  if not isinstance(argument, typing.TypeVar)]
        if plain in OBJECTS:
            return ObjectCodec(*(codecs or (SIMPLE[str], ANY)))
        return ArrayCodec(plain, ARRAYS[plain], codecs[0] if codecs else ANY)
    if isinstance(plain, type):
        if issubclass(plain, enum.Enum):
            return EnumCodec(plain)
        if dataclasses.is_dataclass(plain):
            return _dataclass_codec(plain)
    raise _no_codec(annotation)


#: ``Union[A, B]``; and ``A | B``, from Python 3.10 on.
_UNIONS: tuple[Any, ...] = (typing.Union, getattr(types, "UnionType", typing.Union))


def _tuple_codec(annotation: Any, origin: Any, arguments: Sequence[Any]) -> Codec:
    if arguments and arguments[-1] is not Ellipsis:
        return TupleCodec([codec_for(argument) for argument in arguments if argument != ()])
    if origin is not None and annotation == typing.Tuple[()]:
        return TupleCodec(())
    return ArrayCodec(tuple, tuple, codec_for(arguments[0]) if arguments else ANY)


def _no_codec(annotation: Any) -> InvalidTypeError:
    return InvalidTypeError(f"{annotation!r} has no form in JSON; use numbers, strings, bytes, "
                            "dates, Decimal, UUID, Enum, Literal, dataclasses, and lists, tuples, "
                            "dicts and unions of them")
