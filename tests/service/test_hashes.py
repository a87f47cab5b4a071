"""Sets and dicts of values that somebody chose for their hashes: what would take long to make is refused."""
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Dict, FrozenSet, List, Optional, Set, Tuple, Union
from uuid import UUID

import pytest

from atasker_like import InvalidFieldError, service
from atasker_like.service.codecs.containers import MOST_ALIKE
from atasker_like.service.codecs.schema import Misfit, form_of

#: Every multiple of it has the hash 0.
MODULUS = (1 << 61) - 1

#: So many of them would have whoever reads them compare for many seconds.
MANY = 30_000


@dataclass(frozen=True)
class Place:
    number: int


def uuid(number):
    return str(UUID(int=number))


@pytest.mark.parametrize("annotation, make", [
    (Set[int], int), (FrozenSet[int], int), (AbstractSet, int), (Set[Any], int), (Set[Decimal], str),
    (Set[UUID], uuid), (Set[Tuple[int, str]], lambda number: [number, "a"]), (Set[FrozenSet[int]], lambda number: [number]),
    (Set[Place], lambda number: {"number": number}), (Set[Optional[int]], int), (Set[Union[str, int]], int),
])
def test_a_set_of_values_of_one_hash(annotation, make):
    with pytest.raises(Misfit, match="different hashes"):
        form_of(annotation).read([make(number * MODULUS) for number in range(1, MANY)])
    few = [make(number * MODULUS) for number in range(1, MOST_ALIKE + 1)]
    assert len(form_of(annotation).read(few)) == MOST_ALIKE
    assert len(form_of(annotation).read(few + [make(number) for number in range(1, 1001)])) == MOST_ALIKE + 1000


@pytest.mark.parametrize("annotation, make", [
    (Dict[int, int], str), (Dict[Decimal, int], str), (Dict[UUID, int], uuid), (Dict[Optional[Decimal], int], str),
])
def test_a_dict_of_keys_of_one_hash(annotation, make):
    with pytest.raises(Misfit, match="different hashes") as raised:
        form_of(annotation).read({make(number * MODULUS): 0 for number in range(1, MANY)})
    assert raised.value.where.startswith("['")
    few = {make(number * MODULUS): 0 for number in range(1, MOST_ALIKE + 1)}
    assert len(form_of(annotation).read(few)) == MOST_ALIKE
    few.update({make(number): 0 for number in range(1, 1001)})
    assert len(form_of(annotation).read(few)) == MOST_ALIKE + 1000


def test_the_same_value_again_is_none_of_another_hash():
    assert form_of(Set[int]).read([1, 2, MODULUS] * 10_000) == {1, 2, MODULUS}
    assert form_of(Set[bool]).read([True, False] * 10_000) == {True, False}
    assert len(form_of(Set[float]).read(["NaN"] * 1000)) == 1
    with pytest.raises(Misfit, match="different hashes"):
        form_of(Set[int]).read([1] * 1000 + [number * MODULUS for number in range(1000)])


def test_lists_text_and_bytes_are_not_looked_into():
    alike = [number * MODULUS for number in range(1000)]
    assert form_of(List[int]).read(alike) == alike
    text = list(map(str, alike))
    assert len(form_of(Set[str]).read(text)) == len(form_of(Dict[Union[str, int], int]).read(dict.fromkeys(text, 1))) == 1000


def test_a_task_names_the_field():
    class Choose(service.Task):
        ids: Set[int]

    with pytest.raises(InvalidFieldError, match="field ids of Choose takes values of different hashes"):
        Choose.from_payload({"ids": [number * MODULUS for number in range(1000)]})
