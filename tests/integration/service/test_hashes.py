"""Sets and dicts of values with chosen hashes: those that would take long to build are refused."""
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Dict, FrozenSet, List, Optional, Set, Tuple, Union
from uuid import UUID

import pytest

from atasker_like import InvalidFieldError, service
from atasker_like.service.codecs.codec import FieldError
from atasker_like.service.codecs.containers import MAX_SAME_HASH
from atasker_like.service.codecs.schema import codec_for

#: Every multiple of it has the hash 0.
MODULUS = (1 << 61) - 1

#: Decoding so many of them without a check would compare for many seconds.
MANY = 30_000


@dataclass(frozen=True)
class Point:
    number: int


def uuid(number):
    return str(UUID(int=number))


@pytest.mark.parametrize("annotation, make", [
    (Set[int], int), (FrozenSet[int], int), (AbstractSet, int), (Set[Any], int),
    (Set[Decimal], str),
    (Set[UUID], uuid), (Set[Tuple[int, str]], lambda number: [number, "a"]),
    (Set[FrozenSet[int]], lambda number: [number]),
    (Set[Point], lambda number: {"number": number}), (Set[Optional[int]], int),
    (Set[Union[str, int]], int),
])
def test_a_set_of_values_of_one_hash(annotation, make):
    with pytest.raises(FieldError, match="different hashes"):
        codec_for(annotation).decode([make(number * MODULUS) for number in range(1, MANY)])
    few = [make(number * MODULUS) for number in range(1, MAX_SAME_HASH + 1)]
    assert len(codec_for(annotation).decode(few)) == MAX_SAME_HASH
    many = few + [make(number) for number in range(1, 1001)]
    assert len(codec_for(annotation).decode(many)) == MAX_SAME_HASH + 1000


@pytest.mark.parametrize("annotation, make", [
    (Dict[int, int], str), (Dict[Decimal, int], str), (Dict[UUID, int], uuid),
    (Dict[Optional[Decimal], int], str),
])
def test_a_dict_of_keys_of_one_hash(annotation, make):
    with pytest.raises(FieldError, match="different hashes") as raised:
        codec_for(annotation).decode({make(number * MODULUS): 0 for number in range(1, MANY)})
    assert raised.value.path.startswith("['")
    few = {make(number * MODULUS): 0 for number in range(1, MAX_SAME_HASH + 1)}
    assert len(codec_for(annotation).decode(few)) == MAX_SAME_HASH
    few.update({make(number): 0 for number in range(1, 1001)})
    assert len(codec_for(annotation).decode(few)) == MAX_SAME_HASH + 1000


def test_the_same_value_again_is_none_of_another_hash():
    assert codec_for(Set[int]).decode([1, 2, MODULUS] * 10_000) == {1, 2, MODULUS}
    assert codec_for(Set[bool]).decode([True, False] * 10_000) == {True, False}
    assert len(codec_for(Set[float]).decode(["NaN"] * 1000)) == 1
    with pytest.raises(FieldError, match="different hashes"):
        codec_for(Set[int]).decode([1] * 1000 + [number * MODULUS for number in range(1000)])


def test_lists_text_and_bytes_are_not_looked_into():
    alike = [number * MODULUS for number in range(1000)]
    assert codec_for(List[int]).decode(alike) == alike
    text = list(map(str, alike))
    assert len(codec_for(Set[str]).decode(text)) == 1000
    assert len(codec_for(Dict[Union[str, int], int]).decode(dict.fromkeys(text, 1))) == 1000


def test_a_task_names_the_field():
    class Choose(service.Task):
        ids: Set[int]

    with pytest.raises(InvalidFieldError,
                       match="field ids of Choose takes values of different hashes"):
        Choose.from_payload({"ids": [number * MODULUS for number in range(1000)]})
