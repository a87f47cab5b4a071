"""Codecs: values that fit are restored, others are refused with the path to the error."""
import json
import math
from dataclasses import InitVar, dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from types import MappingProxyType
from typing import (Any, Dict, FrozenSet, Iterable, List, Literal, Mapping, NewType, Optional,
                    Sequence, Set, Tuple, Union)
from uuid import UUID

import pytest

from atasker_like import InvalidTypeError
from atasker_like.service.codecs.codec import FieldError
from atasker_like.service.codecs.schema import codec_for


class Colour(Enum):
    RED = "red"
    ONE = 1
    HALF = 2.5


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Pair(Enum):
    FIRST = (1, 2)
    SECOND = (3, 4)


class Mode(Flag):
    READ = 1
    WRITE = 2


@dataclass
class Span:
    low: float
    high: float = 1.0


@dataclass
class Tree:
    value: int
    children: List["Tree"] = field(default_factory=list)


@dataclass
class Other:
    low: float
    kind: Literal["other"] = "other"


Identifier = NewType("Identifier", int)

UNIT = UUID("12345678123456781234567812345678")
MOMENT = datetime(2024, 2, 29, 12, 30, 15, 250, tzinfo=timezone.utc)

#: annotation, value, as JSON
BOTH_WAYS = [
    (int, 3, 3), (int, -10 ** 30, -10 ** 30), (str, "é\n\ud800", "é\n\ud800"), (bool, True, True),
    (None, None, None),
    (float, 2.5, 2.5), (float, math.inf, "Infinity"), (float, -math.inf, "-Infinity"),
    (bytes, b"\x00\xff", "AP8="), (Decimal, Decimal("1.10"), "1.10"), (UUID, UNIT, str(UNIT)),
    (datetime, MOMENT, "2024-02-29T12:30:15.000250+00:00"), (date, date(2024, 2, 29), "2024-02-29"),
    (time, time(1, 2), "01:02:00"), (timedelta, timedelta(days=1, seconds=2), 86402),
    (timedelta, timedelta(microseconds=-1), -1e-06),
    (Colour, Colour.RED, "red"), (Colour, Colour.ONE, 1), (Level, Level.HIGH, 2),
    (Pair, Pair.SECOND, "SECOND"),
    (Mode, Mode.WRITE, 2),
    (Literal["a", 1, None], "a", "a"), (Literal["a", 1, None], None, None),
    (Literal[Colour.RED], Colour.RED, "red"),
    (Optional[int], None, None), (Optional[int], 3, 3),
    (Optional[Span], Span(0.5), {"low": 0.5, "high": 1.0}),
    (Union[int, str], 3, 3), (Union[int, str], "3", "3"), (Union[float, int], 3, 3),
    (Union[float, int], 3.0, 3.0),
    (Union[bool, int], True, True), (Union[int, None, str], None, None),
    (Union[str, datetime], MOMENT, "2024-02-29T12:30:15.000250+00:00"),
    (Union[str, datetime], "soon", "soon"),
    (Union[Span, Other], Other(1.0), {"low": 1.0, "kind": "other"}),
    (Union[int, List[int]], [1], [1]),
    (List[int], [1, 2], [1, 2]), (list, [1, "a", None], [1, "a", None]),
    (List[Span], [Span(1.0)], [{"low": 1.0, "high": 1.0}]),
    (Tuple[int, str], (1, "a"), [1, "a"]), (Tuple[int, ...], (1, 2, 3), [1, 2, 3]),
    (tuple, (1, "a"), [1, "a"]),
    (Tuple[()], (), []), (Set[int], {1}, [1]), (FrozenSet[str], frozenset("a"), ["a"]),
    (Dict[str, int], {"a": 1}, {"a": 1}), (Dict[int, str], {1: "a"}, {"1": "a"}),
    (dict, {"a": [1]}, {"a": [1]}),
    (Dict[UUID, bool], {UNIT: True}, {str(UNIT): True}),
    (Dict[Colour, int], {Colour.RED: 1}, {"red": 1}),
    (Dict[float, int], {0.5: 1}, {"0.5": 1}),
    (Span, Span(0.0, 2.0), {"low": 0.0, "high": 2.0}),
    (Tree, Tree(1, [Tree(2)]), {"value": 1, "children": [{"value": 2, "children": []}]}),
    (Any, {"a": [1, None, "b", 2.5, True]}, {"a": [1, None, "b", 2.5, True]}), (Identifier, 7, 7),
]


@pytest.mark.parametrize("annotation, value, written", BOTH_WAYS,
                         ids=[f"{a}-{v!r:.30}" for a, v, _ in BOTH_WAYS])
def test_value_is_the_same_after_both_ways(annotation, value, written):
    codec = codec_for(annotation)
    out = codec.encode(value)
    assert (out, type(out)) == (written, type(written))
    back = codec.decode(json.loads(json.dumps(out)))
    assert (back, type(back)) == (value, type(value))


#: annotation, JSON, the way to what does not fit, a part of the reason
REFUSED = [
    (int, True, "", "takes an integer, not True"), (int, 1.0, "", "not 1.0"),
    (int, "1", "", "not '1'"),
    (int, None, "", "not None"), (bool, 1, "", "true or false"), (str, 1, "", "a string"),
    (float, True, "", "a number"),
    (float, "1.0", "", "a number"), (float, 10 ** 400, "", "fits a float"),
    (float, "nan", "", "a number"),
    (bytes, "ÿ", "", "base64"), (bytes, "A", "", "base64"), (bytes, "AP8=\n", "", "base64"),
    (Decimal, 1.1, "", "decimal"), (Decimal, "x", "", "decimal"), (UUID, "x", "", "UUID"),
    (UUID, 3, "", "UUID"),
    (datetime, "yesterday", "", "date and time"), (datetime, 0, "", "date and time"),
    (date, "2024-02-30", "", "date"),
    (timedelta, "1", "", "seconds"), (timedelta, 1e300, "", "seconds"),
    (timedelta, True, "", "seconds"),
    (Colour, "blue", "", "one of 'red', 1, 2.5"), (Colour, True, "", "one of"),
    (Colour, [], "", "one of"),
    (Pair, [1, 2], "", "'FIRST'"), (Literal["a", 1], True, "", "one of 'a', 1"),
    (Literal["a"], [], "", "one of"),
    (Optional[int], "x", "", "integer"), (Union[int, str], None, "", "int or str"),
    (Union[int, Span], {"low": "x"}, "low", "a number"),
    (List[int], [1, "2"], "[1]", "integer"), (List[int], {"a": 1}, "", "array"),
    (List[List[int]], [[1], [2, "x"]], "[1][1]", "integer"),
    (Tuple[int, str], [1], "", "array of 2"), (Tuple[int, str], [1, 2], "[1]", "string"),
    (Set[Any], [[1]], "", "set"),
    (Dict[str, int], {"a": "x"}, "['a']", "integer"),
    (Dict[int, int], {"a": 1}, "['a']", "int keys"),
    (Dict[int, int], {"9" * 5000: 1}, None, "int"), (dict, [], "", "object"),
    (Span, {"high": 1}, "low", "is missing"),
    (Span, {"low": 1, "hihg": 2}, "hihg", "did you mean 'high'?"),
    (Span, {"low": 1, "a\n\x9b": 2}, "['a\\n\\x9b']", "not a field"),
    (Span, {"low": 1, "\u2028" * 200: 2}, None, "not a field"),
    (Dict[str, int], {"\r": "\x85"}, r"['\r']", r"not '\x85'"),
    (Span, [1, 2], "", "fields of Span"),
    (Tree, {"value": 1, "children": [{"value": 2}, {"value": "x"}]}, "children[1].value",
     "integer"),
]


@pytest.mark.parametrize("annotation, value, where, why", REFUSED,
                         ids=[f"{a}-{v!r:.30}" for a, v, _, _ in REFUSED])
def test_what_does_not_fit_is_refused_with_the_way_to_it(annotation, value, where, why):
    with pytest.raises(FieldError) as raised:
        codec_for(annotation).decode(value)
    assert why in str(raised.value)
    if where is not None:
        assert raised.value.path == where
    assert (raised.value.path + str(raised.value)).isprintable()
    assert len(str(raised.value)) < 300


#: annotation, a value that is not of it, a part of the reason
NOT_WRITTEN = [
    (int, True, "integer"), (int, "1", "integer"), (str, b"a", "string"), (float, "1", "number"),
    (float, True, "number"),
    (bool, 1, "True or False"), (datetime, date(2024, 1, 1), "date and time"),
    (date, MOMENT, "date"), (Colour, "red", "Colour"),
    (List[int], (1,), "list"), (List[int], "ab", "list"), (Tuple[int], [1], "tuple"),
    (Span, {"low": 1}, "Span"), (Any, {1}, "set"),
    (Any, {1: 2}, "keys are strings"), (Mode, Mode.READ | Mode.WRITE, "a member of Mode"),
    (Any, math.nan, "nan"), (timedelta, 5, "timedelta"),
    (timedelta, timedelta(days=200000, microseconds=1), "exact"),
    (Dict[str, int], [("a", 1)], "dict"),
    (Union[str, datetime], "2024-01-01", "would arrive as"),
    (Union[datetime, date], date(2024, 1, 1), "would arrive as"),
    (Union[timedelta, float], timedelta(seconds=1), "would arrive as"),
    (Union[float, str], "NaN", "would arrive as"),
    (Union[List[int], Tuple[int, ...]], (1, 2), "would arrive as"),
    (Union[Sequence[int], Tuple[int, ...]], (1, 2), "would arrive as"),
    (Union[Sequence, Set[int]], {1}, "would arrive as"),
    (Union[List[Sequence[int]], List[Tuple[int, int]]], [(1, 2)], "would arrive as"),
    (Union[List[str], List[float]], [math.nan], "would arrive as"),
    (Union[float, Any], 5, "would arrive as"),
    (Union[Tuple[Decimal, date], Tuple[Decimal, str]], (Decimal("sNaN"), "2024-01-01"),
     "would arrive as"),
]


@pytest.mark.parametrize("annotation, value, why", NOT_WRITTEN,
                         ids=[f"{a}-{v!r:.30}" for a, v, _ in NOT_WRITTEN])
def test_what_would_not_arrive_as_it_is_is_not_written(annotation, value, why):
    with pytest.raises(FieldError, match=why):
        codec_for(annotation).encode(value)


#: a type, a value that it changes on the way or that equals nothing, other members of a union
TAKEN_ALONE = [
    (float, 5, [str, Literal["auto"], bool, None, List[int]]),
    (Sequence[int], (1, 2), [str, int, Tuple[str, ...]]),
    (Iterable[int], range(2), [str, float]), (List[float], [math.nan], [str, List[int]]),
    (List[float], [1, math.nan], [str]),
    (Span, Span(math.nan), [str, Other, float]), (bytes, bytearray(b"x"), [int, str]),
    (Mapping[str, int], MappingProxyType({"a": 1}), [int]),
    (Decimal, Decimal("sNaN"), [int, str, Any]),
    (List[Decimal], [Decimal("sNaN")], [int, str]),
    (Tuple[float, float], (1, math.nan), [float]), (int, Level.HIGH, [str, float]),
    (float, 5, [date, datetime, UUID, Decimal, Span]),
]


@pytest.mark.parametrize("annotation, value, others", TAKEN_ALONE,
                         ids=[f"{a}-{v!r:.30}" for a, v, _ in TAKEN_ALONE])
def test_a_union_takes_what_its_member_takes_alone(annotation, value, others):
    written = codec_for(annotation).encode(value)
    behind, before = [(annotation, other) for other in others], [(other, annotation)
                                                                 for other in others]
    for members in [*behind, *before, (annotation, str, None)]:
        codec = codec_for(Union[members])
        assert codec.encode(value) == written
        assert repr(codec.decode(written)) == repr(codec_for(annotation).decode(written))
    # a list for either
    assert codec_for(Union[Sequence[int], Sequence[float]]).encode((1, 2)) == [1, 2]


def test_not_a_number_comes_back():
    codec = codec_for(float)
    assert math.isnan(codec.decode(codec.encode(math.nan)))


def test_an_integer_is_a_float_and_a_trailing_z_is_utc():
    assert type(codec_for(float).decode(1)) is float
    assert codec_for(datetime).decode("2024-02-29T12:30:15.000250Z") == MOMENT


def test_numbers_of_other_libraries_are_integers():
    class Number:
        def __index__(self):
            return 5

    assert codec_for(int).encode(Number()) == 5
    assert type(codec_for(int).encode(Level.HIGH)) is int


def test_abstract_collections_are_decoded_as_builtin_ones():
    assert codec_for(Sequence).decode([1]) == [1]
    assert codec_for(Mapping).decode({"a": 1}) == {"a": 1}


def test_a_value_that_contains_itself():
    round_and_round = []
    round_and_round.append(round_and_round)
    with pytest.raises(FieldError, match="contains itself"):
        codec_for(Any).encode(round_and_round)


class Unknown:
    pass


@pytest.mark.parametrize("annotation",
                         [Unknown, complex, List[Unknown], Optional[complex], Dict[str, Unknown],
                          "a", 3, []])
def test_a_type_without_a_form(annotation):
    with pytest.raises(InvalidTypeError, match="no form in JSON"):
        codec_for(annotation)


def test_the_field_with_such_a_type_is_named():
    @dataclass
    class Broken:
        good: int
        bad: complex

    with pytest.raises(InvalidTypeError, match="field 'bad' of .*Broken"):
        codec_for(Broken)
    with pytest.raises(InvalidTypeError):
        codec_for(Broken)         # it is not half known since the first time


@dataclass
class Inner:
    outer: Optional["Outer"]


@dataclass
class Outer:
    inner: Inner
    bad: complex


def test_codec_of_a_field_whose_owner_is_refused_is_refused_too():
    for kind in (Outer, Inner):
        with pytest.raises(InvalidTypeError, match="field 'bad' of Outer"):
            codec_for(kind)


@pytest.mark.parametrize("annotation", [InitVar[int], "InitVar[int]"])
def test_what_is_given_to_a_class_and_not_kept_has_no_form(annotation):
    @dataclass
    class Scaled:
        number: int
        factor: annotation = 1

        def __post_init__(self, factor):
            self.number *= factor

    for kind in (Scaled, List[Scaled]):
        with pytest.raises(InvalidTypeError, match="field 'factor' of .*Scaled is an InitVar"):
            codec_for(kind)


def test_an_annotation_that_cannot_be_resolved():
    @dataclass
    class Lost:
        where: "Nowhere"        # noqa: F821

    with pytest.raises(InvalidTypeError, match="Lost cannot be resolved.*Nowhere"):
        codec_for(Lost)


def test_a_check_of_the_class_itself():
    @dataclass
    class Even:
        number: int

        def __post_init__(self):
            if self.number % 2:
                raise ValueError("it is odd")

    assert codec_for(Even).decode({"number": 2}) == Even(2)
    with pytest.raises(FieldError, match="is refused: it is odd"):
        codec_for(Even).decode({"number": 3})


def test_error_of_a_class_about_untrusted_text_is_one_line():
    @dataclass
    class Known:
        name: str

        def __post_init__(self):
            raise ValueError(f"no user is called {self.name}")

    with pytest.raises(FieldError) as raised:
        codec_for(Known).decode({"name": "x\n2026 CRITICAL \x9b31m\u2028é"})
    assert str(raised.value) == r"is refused: no user is called x\n2026 CRITICAL \x9b31m\u2028é"


def test_what_a_subclass_adds_is_not_lost_silently():
    @dataclass
    class Wide(Span):
        more: int = 0

    with pytest.raises(FieldError, match="subclass Wide"):
        codec_for(Span).encode(Wide(1.0))
