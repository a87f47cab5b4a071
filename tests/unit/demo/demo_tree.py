"""A small tree of sources that the demo is run on, and what is to be counted in it."""

#: Paths, texts, and the lines, functions and classes that are counted in them; None for those that
#: do not parse.
TREE = [
    ("plain.py", "def one():\n    pass\n", (2, 1, 0)),
    ("unended.py", "x = 1\ny = 2", (2, 0, 0)),
    ("dos.py", "def one():\r\n    pass\r\n\r\n", (3, 1, 0)),
    ("empty.py", "", (0, 0, 0)),
    ("package/__init__.py", "", (0, 0, 0)),
    ("package/deep/nested.py", """\
class Outer:
    class Inner:
        def method(self):
            def closure():
                return lambda: None
            return closure

    async def coroutine(self):
        if self:
            def in_if(): pass
        else:
            def in_else(): pass
        try:
            def in_try(): pass
        except ValueError:
            def in_except(): pass
        finally:
            def in_finally(): pass
        for _ in ():
            class InFor: pass
        with self:
            while True:
                def in_while(): pass
""", (23, 9, 3)),
    ("site-packages/kept.py", "class Kept: pass\n", (1, 0, 1)),
    ("escape.py", "pattern = '\\d'\nassert (1, 'true')\nx is 1\n", (3, 0, 0)),
    ("latin.py", b"# -*- coding: latin-1 -*-\nname = '\xe9'\n", (2, 0, 0)),
    ("marked.py", b"\xef\xbb\xbfdef marked(): pass\n", (1, 1, 0)),
    ("bad.py", "def broken(:\n    pass\n", None),
    ("null.py", b"x = 1\0\n", None),
    ("encoding.py", b"x = '\xff\xfe'\n", None),
    ("notes.txt", "def not_python(): pass\n", ()),
    ("python", "def not_either(): pass\n", ()),
]
UNPARSABLE_LINES = 2 + 1 + 1


def plant(root):
    """Make the tree; return its root."""
    for name, text, _ in TREE:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def counted():
    """What the counts of the tree must be: files, lines, functions, classes, unparsable."""
    parsed = [counts for _, _, counts in TREE if counts]
    bad = sum(1 for _, _, counts in TREE if counts is None)
    lines, functions, classes = (sum(column) for column in zip(*parsed))
    return len(parsed) + bad, lines + UNPARSABLE_LINES, functions, classes, bad
