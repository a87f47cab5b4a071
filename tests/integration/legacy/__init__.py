"""Tests that are written as applications of atasker are: all names come ``from atasker``."""
from atasker_like import legacy

legacy.install()        # for the imports of these files; from there on conftest.py sees to it
