"""The modules of the package, as text and as syntax trees."""
import ast
import os
from functools import lru_cache

import atasker_like


@lru_cache(maxsize=None)
def tree_of(path):
    """The syntax tree of a file, which no test changes."""
    with open(path, encoding="utf-8") as file:
        return ast.parse(file.read())


@lru_cache(maxsize=None)
def sources():
    """The modules of the package: path, text and syntax tree of each."""
    root = os.path.dirname(atasker_like.__file__)
    found = []
    for folder, _, names in sorted(os.walk(root)):
        for name in sorted(names):
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                with open(path, encoding="utf-8") as file:
                    text = file.read()
                found.append((os.path.relpath(path, root), text, tree_of(path)))
    return found
