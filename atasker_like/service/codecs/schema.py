"""What a type annotation means in JSON, both ways: :func:`form_of` makes its form, from the forms of its parts.

    a dataclass     an object            Enum            its value where that is a scalar, else its name
    dict            an object            Literal         the value
    list, tuple, set    an array         Union           that of the first member which fits
"""
from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import sys
import threading
import typing

from ..._inspect import text_of
from ...errors import InvalidTypeError
from .containers import ARRAYS, OBJECTS, array_form, object_form, tuple_form
from .scalars import ANY, SCALARS, SHOWN, SIMPLE, Form, Misfit, expected, in_one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

__all__ = ["Form", "Misfit", "check_fields", "form_of", "is_by_value"]


# -- what is made of other types ---------------------------------------------------------------------------


@functools.lru_cache(256)
def is_by_value(kind: type[enum.Enum]) -> bool:
    """Tell whether the members of a class stand in JSON as their values; else they do as their names."""
    return all(type(member.value) in SCALARS for member in kind)


def _enum_form(kind: type[enum.Enum]) -> Form:
    members = list(kind)
    by_value = is_by_value(kind)
    # True == 1 and 1.0 == 1, but they are not the same in JSON.
    known = {_key(member.value if by_value else member.name): member for member in members}
    what = f"one of {', '.join(repr(member.value if by_value else member.name) for member in members)}"

    def read(value: Any) -> Any:
        try:
            return known[_key(value)]
        except (KeyError, TypeError):
            return expected(what, value)

    def write(value: Any) -> Any:
        if not isinstance(value, kind):
            expected(f"a {kind.__name__}", value)
        written = value.value if by_value else value.name
        if _key(written) not in known:          # a combination of flags
            raise Misfit(f"takes a member of {kind.__name__}", f", which {value!r} is not")
        return written

    return Form(kind.__name__, read, write, rank=1)


def _key(value: Any) -> tuple[type, Any]:
    return type(value), value


def _literal_form(values: Sequence[Any]) -> Form:
    forms = [(value, form_of(type(value))) for value in values]
    known = {_key(form.write(value)): value for value, form in forms}
    ways_out = {_key(value): form.write(value) for value, form in forms}
    what = f"one of {', '.join(map(repr, values))}"

    def read(value: Any) -> Any:
        try:
            return known[_key(value)]
        except (KeyError, TypeError):
            return expected(what, value)

    def write(value: Any) -> Any:
        try:
            return ways_out[_key(value)]
        except (KeyError, TypeError):
            return expected(what, value)

    return Form(what, read, write, rank=1)


def _union_form(members: Sequence[Any]) -> Form:
    forms = sorted((form_of(member) for member in members), key=lambda form: form.rank)
    name = " or ".join(form.name for form in forms)
    if len(forms) == 2 and forms[0].name == "None":
        return _optional_form(forms[1])

    def read(value: Any) -> Any:
        return _first_fitting(forms, value, reading=True)[1]

    def write(value: Any) -> Any:
        writer, written = _first_fitting(forms, value, reading=False)
        reader, back = _first_fitting(forms, written, reading=True)
        if _is_kept(value, back) or reader is writer and not any(_keeps(form, value) for form in forms):
            return written
        # Two members look alike in JSON. What would arrive as something else is not sent.
        raise Misfit(f"takes {name}, and nothing that would arrive as another of them; use a dataclass with a Literal field "
                     "that tells them apart", f": {value!r:.{SHOWN}} would arrive as {back!r:.{SHOWN}}")

    return Form(name, read, write, rank=max(form.rank for form in forms))


def _is_kept(value: Any, back: Any) -> bool:
    """Tell whether a value comes back as it was."""
    if type(back) is not type(value) and not isinstance(value, type(back)):
        return False
    try:
        return bool(back == value or back != back)
    except (ArithmeticError, TypeError, ValueError):        # a signaling NaN; a comparison of the application's own
        return False


def _keeps(form: Form, value: Any) -> bool:
    try:
        return _is_kept(value, form.read(form.write(value)))
    except Misfit:
        return False


def _first_fitting(forms: Sequence[Form], value: Any, reading: bool) -> tuple[Form, Any]:
    """Return the first form that takes a value, and what it makes of it."""
    deepest: list[Misfit] = []
    for form in forms:
        try:
            return form, form.read(value) if reading else form.write(value)
        except Misfit as misfit:
            if misfit.where:
                deepest.append(misfit)
    if len(deepest) == 1:           # one member nearly fits: what is wrong inside it says more
        raise deepest[0]
    expected(" or ".join(form.name for form in forms), value)


def _optional_form(form: Form) -> Form:
    def read(value: Any) -> Any:
        return None if value is None else form.read(value)

    def write(value: Any) -> Any:
        return None if value is None else form.write(value)

    return Form(f"{form.name} or None", read, write, rank=form.rank)


# -- dataclasses -------------------------------------------------------------------------------------------


def check_fields(kind: Any) -> None:
    """Refuse a dataclass of which a part would be lost on the way.

    :raises InvalidTypeError: it has a field that it is given and does not keep.
    """
    for name, field in kind.__dataclass_fields__.items():
        if field._field_type is _GIVEN_ONLY:
            raise InvalidTypeError(f"field {name!r} of {kind.__qualname__} is an InitVar, which the class does not keep: it would "
                                   "be lost on the way; make it a field like the others")


_GIVEN_ONLY: Any = getattr(dataclasses, "_FIELD_INITVAR", object())       # dataclasses.fields() leaves them out


def _form_of_dataclass(kind: Any) -> Form:
    check_fields(kind)
    try:
        hints = typing.get_type_hints(kind, localns={kind.__name__: kind})
    except Exception as error:
        raise InvalidTypeError(f"the annotations of {kind.__qualname__} cannot be resolved: {error}; the types must be known "
                               "in its module when the class is first used, and on this Python") from error
    fields = []
    for field in dataclasses.fields(kind):
        if field.init:
            try:
                form = form_of(hints[field.name])
            except InvalidTypeError as error:
                raise InvalidTypeError(f"field {field.name!r} of {kind.__qualname__}: {error}") from None
            required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            fields.append((field.name, form, required))
    names = [name for name, _, _ in fields]
    what = f"an object with the fields of {kind.__name__}"

    def read(value: Any) -> Any:
        if type(value) is not dict:
            expected(what, value)
        values = {}
        for name, form, required in fields:
            if name in value:
                try:
                    values[name] = form.read(value[name])
                except Misfit as misfit:
                    raise _of_field(misfit, kind, name)
            elif required:
                raise Misfit(f"is missing: {kind.__name__} has no default for it").below(f".{name}")
        if len(values) != len(value):
            raise _unknown(kind.__name__, names, value)
        try:
            return kind(**values)
        except (TypeError, ValueError, ArithmeticError, LookupError, AssertionError) as error:
            raise Misfit("is refused", f": {in_one_line(text_of(error))}") from error     # by its __post_init__

    def write(value: Any) -> Any:
        if not isinstance(value, kind):
            expected(f"a {kind.__name__}", value)
        if type(value) is not kind:
            raise Misfit(f"takes a {kind.__name__}, not its subclass {type(value).__name__}, of which fields would be lost")
        written = {}
        for name, form, _ in fields:
            try:
                written[name] = form.write(getattr(value, name))
            except Misfit as misfit:
                raise _of_field(misfit, value, name)
        return written

    return Form(kind.__name__, read, write)


def _of_field(misfit: Misfit, owner: Any, name: str) -> Misfit:
    """Return the error of a field of an instance, or of a class where there is no instance yet, to be raised on; without
    what there was where the owner hides it, or might: a property says so only of an instance."""
    try:
        hidden = getattr(owner, "hidden_fields", ())
        if not isinstance(hidden, collections.abc.Collection) or name in hidden:
            misfit.hide()
    except Exception:                       # its property relies on what does not fit, perhaps
        misfit.hide()
    return misfit.below(f".{name}")


def _unknown(where: str, names: list[str], value: dict[str, Any]) -> Misfit:
    from difflib import get_close_matches

    name = next(name for name in value if name not in names)
    step = f".{name:.{SHOWN}}" if name.isidentifier() and name.isprintable() else f"[{name!r:.{SHOWN}}]"     # a stranger's
    near = get_close_matches(name[:SHOWN], names, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"its fields are {', '.join(names) or 'none'}"
    return Misfit(f"is no field of {where}; {hint}").below(step)


_forms: dict[Any, Form] = {}      # of dataclasses; guarded by _making
_making = threading.RLock()


def _known_dataclass(kind: Any) -> Form:
    with _making:
        known = _forms.get(kind)
        if known is None:
            # In its place before it is complete, since a class may have fields of its own type: nobody keeps its
            # read or write, but all look them up when they are called.
            known = _forms[kind] = Form(kind.__name__, ANY.read, ANY.write)
            try:
                made = _form_of_dataclass(kind)
            except BaseException:
                del _forms[kind]
                raise
            known.read, known.write = made.read, made.write
        return known


# -- one door ----------------------------------------------------------------------------------------------


def _is_union(origin: Any) -> bool:
    if origin is typing.Union:
        return True
    return sys.version_info >= (3, 10) and origin is getattr(sys.modules["types"], "UnionType", None)


def form_of(annotation: Any) -> Form:
    """Return the form of values of a type.

    :raises InvalidTypeError: (a TypeError) JSON has no form for it.
    """
    try:
        simple = SIMPLE.get(annotation)
    except TypeError:                       # not hashable: no type
        raise _no_form(annotation) from None
    if simple is not None:
        return simple
    supertype = getattr(annotation, "__supertype__", None)      # a NewType
    if supertype is not None:
        return form_of(supertype)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is not None and hasattr(annotation, "__metadata__"):      # Annotated
        return form_of(arguments[0])
    if _is_union(origin):
        return _union_form(arguments)
    if origin is typing.Literal:
        return _literal_form(arguments)
    plain = origin or annotation
    if plain is tuple:
        if arguments and arguments[-1] is not Ellipsis:
            return tuple_form([form_of(argument) for argument in arguments if argument != ()])
        if origin is not None and annotation == typing.Tuple[()]:
            return tuple_form(())
        return array_form(tuple, tuple, form_of(arguments[0]) if arguments else ANY)
    arguments = tuple(argument for argument in arguments if not isinstance(argument, typing.TypeVar))   # a bare List, on 3.8
    if plain in ARRAYS:
        return array_form(*ARRAYS[plain], form_of(arguments[0]) if arguments else ANY)
    if plain in OBJECTS:
        return object_form(*(map(form_of, arguments) if arguments else (SIMPLE[str], ANY)))
    if isinstance(plain, type):
        if issubclass(plain, enum.Enum):
            return _enum_form(plain)
        if dataclasses.is_dataclass(plain):
            return _known_dataclass(plain)
    raise _no_form(annotation)


def _no_form(annotation: Any) -> InvalidTypeError:
    return InvalidTypeError(f"{annotation!r} has no form in JSON; use numbers, strings, bytes, dates, Decimal, UUID, Enum, "
                            "Literal, dataclasses, and lists, tuples, dicts and unions of them")
