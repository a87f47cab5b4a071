"""Collect the fragments of docs/changes into a section of CHANGELOG.rst.

    python3 docs/collect_changes.py --check             read all fragments
    python3 docs/collect_changes.py --draft VERSION     print the section
    python3 docs/collect_changes.py VERSION             write the section, remove the fragments

docs/changes/README.rst describes the fragments.
"""
import argparse
import pathlib
import re
import sys
import textwrap

#: The kinds of changes, in the order of the change log, with their headings.
KINDS = {
    "incompatible": "Incompatible",
    "added": "Added",
    "changed": "Changed",
    "deprecated": "Deprecated",
    "fixed": "Fixed",
    "faster": "Faster",
}

COLUMNS = 100

_NAME = re.compile(r"(?P<topic>[a-z0-9]+(-[a-z0-9]+)*)(\.[0-9]+)?\.(?P<kind>[a-z]+)\.rst")


class FragmentError(ValueError):
    """A fragment has a wrong name or text."""


def read(folder):
    """Return the fragments of a folder as (path, kind, text), in the order of their names."""
    found = []
    for path in sorted(pathlib.Path(folder).iterdir()):
        if path.name == "README.rst":
            continue
        match = _NAME.fullmatch(path.name)
        if match is None or match.group("kind") not in KINDS:
            raise FragmentError("{}: a fragment is named <topic>.<kind>.rst, its kind one of {}"
                                .format(path.name, ", ".join(KINDS)))
        text = " ".join(path.read_text(encoding="utf-8").split())
        if not text:
            raise FragmentError("{}: the fragment is empty".format(path.name))
        if text.startswith(("- ", "* ")):
            raise FragmentError("{}: the text has no dash in front; it becomes one item"
                                .format(path.name))
        found.append((path, match.group("kind"), text))
    return found


def section(version, fragments):
    """Return the text of a version's section."""
    lines = [version, "-" * len(version), ""]
    for kind, heading in KINDS.items():
        texts = [text for _, its_kind, text in fragments if its_kind == kind]
        if texts:
            lines += [heading, "~" * len(heading), ""]
            lines += [textwrap.fill(text, COLUMNS, initial_indent="- ", subsequent_indent="  ",
                                    break_long_words=False, break_on_hyphens=False)
                      for text in texts]
            lines.append("")
    return "\n".join(lines)


def items(text):
    """Return the items of a section as (None, kind, text)."""
    found = []
    for part in re.split(r"^(?=\w+\n~+\n)", text, flags=re.MULTILINE):
        kind = part.partition("\n")[0].lower()
        found += [(None, kind, " ".join(item.split()))
                  for item in re.findall(r"^- (.*(?:\n  .*)*)", part, re.MULTILINE)]
    return found


def insert(log, version, fragments):
    """Return a change log with a section in front, or with more items in that of the version."""
    title = re.match(r"[^\n]+\n=+\n\n", log)
    if title is None:
        raise FragmentError("the change log does not begin with a title and a line of =")
    rest = log[title.end():]
    same = re.match(re.escape(version) + r"\n-+\n(.*?)(?=^[^\n]+\n-+\n|\Z)", rest, re.S | re.M)
    if same:
        fragments, rest = items(same.group(1)) + fragments, rest[same.end():]
    return log[:title.end()] + section(version, fragments) + "\n" + rest


def main(arguments=None, root=None):
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("version", nargs="?", help="the version to be released, such as 0.2.0")
    parser.add_argument("--check", action="store_true", help="only read the fragments")
    parser.add_argument("--draft", action="store_true", help="print the section, change nothing")
    options = parser.parse_args(arguments)
    root = pathlib.Path(__file__).resolve().parent.parent if root is None else pathlib.Path(root)
    try:
        fragments = read(root / "docs" / "changes")
        if options.check:
            return 0
        if options.version is None:
            parser.error("a version is needed, or --check")
        if not fragments:
            raise FragmentError("docs/changes has no fragment")
        if options.draft:
            print(section(options.version, fragments))
            return 0
        path = root / "CHANGELOG.rst"
        text = insert(path.read_text(encoding="utf-8"), options.version, fragments)
    except FragmentError as error:
        print(error, file=sys.stderr)
        return 1
    path.write_text(text, encoding="utf-8")
    for fragment, _, _ in fragments:
        fragment.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
