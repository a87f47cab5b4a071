"""The base of codecs, which convert the values of one type to JSON and back.

``encode`` converts a value of the type to JSON data, ``decode`` does the reverse. Both check their
argument and raise :class:`FieldError`, which holds the path to the part that does not fit. The path
is built while the error propagates, so values that fit pay nothing for it.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


#: JSON's own types that hold no others.
SCALARS = (str, int, float, bool, type(None))

#: Characters of a value that an error message shows.
MAX_SHOWN = 60


class FieldError(Exception):
    """A value does not fit its codec.

    ``path`` leads to the value, the text says why.

    :param wanted: the part of the text that names what the codec takes.
    :param shown: the part that shows the value; :meth:`hide` removes it.
    """

    def __init__(self, wanted: str, shown: str = "") -> None:
        super().__init__(wanted + shown)
        self._wanted = wanted
        self._steps: list[str] = []     # from the innermost to the outermost

    def at(self, step: str) -> FieldError:
        """Put a step in front of the path, and return the error itself."""
        self._steps.append(step)
        return self

    def hide(self) -> None:
        """Remove the value, and the path in it, which may contain keys."""
        self.args: tuple[Any, ...] = (self._wanted,)
        self._steps.clear()
        self.__cause__: BaseException | None = None
        self.__context__: BaseException | None = None

    @property
    def path(self) -> str:
        return "".join(reversed(self._steps)).lstrip(".")


class Codec:
    """Converts the values of one type to JSON data and back.

    ``generality`` orders the members of a Union: those that accept fewer values come first.
    """

    def __init__(self, name: str, generality: int = 2) -> None:
        self.name = name
        self.generality = generality

    def decode(self, value: Any) -> Any:
        """Return the value that JSON data stands for."""
        raise NotImplementedError

    def encode(self, value: Any) -> Any:
        """Return the JSON data that stands for a value."""
        raise NotImplementedError


def mismatch(wanted: str, value: Any) -> NoReturn:
    """Raise FieldError for a value that the codec does not take."""
    raise FieldError(f"takes {wanted}", f", not {_shown(value)}")


def _shown(value: Any) -> str:
    # The repr of any other object may be long, or run code of the application.
    if not isinstance(value, SCALARS) or isinstance(value, int) and value.bit_length() > 200:
        return f"a {_json_name(value)}"
    shown = repr(value)
    return shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + "..."


def _json_name(value: Any) -> str:
    if type(value) is dict:
        return "JSON object"
    return "JSON array" if type(value) is list else type(value).__name__


def in_one_line(text: str) -> str:
    """Return untrusted text with escapes for unprintable characters."""
    return "".join([each if each.isprintable() else repr(each)[1:-1] for each in text])
