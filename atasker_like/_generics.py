"""The base of generic classes, without the typing module at run time; and type variables.

typing.Generic slows each construction down on Python 3.8, and the import of typing takes as long as
that of several modules of this package.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Generic as Generic

    from typing_extensions import ParamSpec, TypeVar, TypeVarTuple

    A = TypeVar("A")
    A_contra = TypeVar("A_contra", contravariant=True)
    B = TypeVar("B")
    B_contra = TypeVar("B_contra", contravariant=True)
    C = TypeVar("C")
    C_contra = TypeVar("C_contra", contravariant=True)
    Q = ParamSpec("Q")
    R = TypeVar("R")
    R_co = TypeVar("R_co", covariant=True)
    T = TypeVar("T")
    Ts = TypeVarTuple("Ts")
    # The defaults are those of a class without brackets.
    P = ParamSpec("P", default=...)
    T_co = TypeVar("T_co", covariant=True, default=Any)
else:
    class Generic:
        """Return the class itself for ``Task[int]``."""

        __slots__ = ()

        def __class_getitem__(cls, item):
            return cls

    P = T_co = None

__all__ = ["Generic", "P", "T_co"]
