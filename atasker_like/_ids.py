"""Ids of tasks: 32 hexadecimal digits, which are a valid UUID, and their short form for messages.

::

    48 random bits  8 12 random bits  kind 12 random bits  48 bits: the number of the task
    |-- a UUID of version 8, the one for formats of one's own --|
    |-- the prefix, which a registry makes once --------------|

So an id costs nothing before its first use, and any process can read its short form, such as
``t-17``, from it.
"""
from __future__ import annotations

import os

from .constants import TT_COROUTINE, TT_MP, TT_THREAD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .constants import TaskType


#: Digits of an id before the number.
PREFIX = 20

#: The digit for the kind of task; each of them is valid for the variant of RFC 9562.
_DIGITS = {TT_COROUTINE: "8", TT_THREAD: "9", TT_MP: "a"}
_LETTERS = {"8": "c", "9": "t", "a": "p"}

#: An id of the caller's own is shown whole up to the first length; else its first characters.
_WHOLE, _SHOWN = 12, 8


def make_prefix(tt: TaskType) -> str:
    """Return a new prefix for the ids of tasks of one kind."""
    digits = os.urandom(9).hex()
    return f"{digits[:12]}8{digits[12:15]}{_DIGITS[tt]}{digits[15:18]}"


def new_id() -> str:
    """Return a new id without a number, which is a UUID of version 4."""
    digits = os.urandom(16).hex()
    return f"{digits[:12]}4{digits[13:16]}{'89ab'[int(digits[16], 16) & 3]}{digits[17:]}"


def short_id(task_id: str) -> str:
    """Return the form of an id for messages and screens.

    >>> short_id('3f5c0e7d91a28b3c9d4e00000000002a')
    't-42'
    >>> short_id('order-17'), short_id('the import of last night')
    ('order-17', 'the impo')
    """
    if len(task_id) == 32 and task_id[12] == "8" and task_id[16] in _LETTERS:
        try:
            return f"{_LETTERS[task_id[16]]}-{int(task_id[PREFIX:], 16)}"
        except ValueError:
            pass
    return task_id if len(task_id) <= _WHOLE else task_id[:_SHOWN]
