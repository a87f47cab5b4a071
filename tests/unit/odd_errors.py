"""Errors and values that cannot be shown, sent or looked at; importable, so that pool processes
find them."""


class NoText(Exception):
    """The mistake in its __str__ shows only when it is printed."""

    def __str__(self):
        return self.args[1]


class NoRepr(Exception):
    def __repr__(self):
        raise RuntimeError("no repr")


class NoReduce(Exception):
    def __reduce__(self, *_):
        raise RuntimeError("no reduce")

    __reduce_ex__ = __reduce__


class ReducedToNumber(Exception):
    def __reduce__(self):
        return int, (5,)


class TwoArguments(Exception):
    def __init__(self, what, why):
        super().__init__(f"{what}: {why}")


class Exits(Exception):
    """Whatever is asked of it, it ends the thread that asks."""

    def __str__(self):
        raise SystemExit(3)

    __repr__ = __reduce__ = __reduce_ex__ = __str__


class Nothing(Exception):
    """Has none of what an object has."""

    def _refuse(self, *_):
        raise RuntimeError("refused")

    __bool__ = __len__ = __str__ = __repr__ = __eq__ = __hash__ = _refuse
    __reduce__ = __reduce_ex__ = __setattr__ = _refuse
    __iter__ = _refuse


class NoAttributes(Exception):
    """A question for an attribute that it lacks raises KeyError, as some HTTPErrors do."""

    def __getattr__(self, name):
        raise KeyError(name)


class Silent(Exception):
    """Answers no question, not even what its class is."""

    def __getattribute__(self, name):
        raise RuntimeError(f"asked for {name}")


class Anonymous(type):
    def __getattribute__(cls, name):
        raise RuntimeError(f"asked for {name}")


class Nameless(Exception, metaclass=Anonymous):
    """Its class answers no question, not even what its name is."""


class NoNotes(Exception):
    """From Python 3.11 on, it cannot be printed."""

    @property
    def __notes__(self):
        raise RuntimeError("no notes")


class Empty(Exception):
    """Counts as false."""

    def __len__(self):
        return 0


def local_class():
    class Local(Exception):
        pass

    return Local


KINDS = {kind.__name__: kind
         for kind in (NoText, NoRepr, NoReduce, ReducedToNumber, Exits, Nothing, NoAttributes,
                      Empty, Silent, NoNotes)}
KINDS["Nameless"] = Nameless


def fail(name):
    """Raise an error of a kind."""
    raise KINDS[name](name)


async def co_fail(name):
    raise KINDS[name](name)


def fail_with_context(name, inner):
    """Raise an error of a kind while one of another kind is handled."""
    try:
        raise KINDS[inner](inner)
    except KINDS[inner]:
        raise KINDS[name](name)


def fail_with_two():
    raise TwoArguments("a", "b")


def fail_with_a_local_class():
    raise local_class()("gone")


class Value:
    """A value that cannot be shown or sent."""

    def _refuse(self, *_):
        raise NoText("value")

    __repr__ = __str__ = __reduce__ = __reduce_ex__ = _refuse


def give(name):
    return Value()
