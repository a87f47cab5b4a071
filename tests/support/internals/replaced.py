"""A private member that tests replace."""


class Replaced:
    """A private member, by its name: an attribute of an object, a class or a module."""

    def __init__(self, name):
        self._name = name

    def of(self, owner):
        """Return the member of its owner."""
        return getattr(owner, self._name)

    def put(self, owner, member):
        """Put something in the place of the member."""
        setattr(owner, self._name, member)

    def drop(self, owner):
        """Take away what put() has put in front of a method."""
        delattr(owner, self._name)

    def patch(self, monkeypatch, owner, member):
        """Do what put() does until the end of the test."""
        monkeypatch.setattr(owner, self._name, member)
