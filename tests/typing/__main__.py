"""Compare what type checkers report with what the files of this folder expect.

``python -m tests.typing`` needs mypy and basedpyright. It checks four things: mypy --strict finds
nothing in the package and in the files here; basedpyright finds nothing in ``values.py``; in
``mistakes.py``, both find an error in each line with a mark, and in no other one; and basedpyright
knows the types of nearly all public names of the package (``--verifytypes``).
"""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MISTAKES = HERE / "mistakes.py"
MARK = "# mistake"

#: The least share of the package's public names whose types are complete.
COMPLETE = 0.99


def mypy(*paths):
    """Return the errors as (path, line, text)."""
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", *map(str, paths)], cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    if done.returncode not in (0, 1):
        sys.exit(f"mypy failed:\n{done.stdout}{done.stderr}")
    found = re.findall(r"^(.+?):(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    return [((ROOT / path).resolve(), int(line), text) for path, line, text in found]


def basedpyright(*arguments):
    """Return its report."""
    done = subprocess.run([sys.executable, "-m", "basedpyright", "--outputjson",
                           *map(str, arguments)],
                          cwd=ROOT, env=dict(os.environ, PYTHONPATH=str(ROOT)),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    try:
        return json.loads(done.stdout)
    except ValueError:
        sys.exit(f"basedpyright failed:\n{done.stdout}{done.stderr}")


def pyright(*paths):
    """Return the errors as (path, line, text)."""
    return [(Path(entry["file"]).resolve(), entry["range"]["start"]["line"] + 1, entry["message"])
            for entry in basedpyright("--level", "error", *paths)["generalDiagnostics"]
            if entry["severity"] == "error"]


def incomplete():
    """Return the share of public names whose types are complete, and the others."""
    report = basedpyright("--verifytypes", "atasker_like", "--ignoreexternal")["typeCompleteness"]
    return report["completenessScore"], [
        symbol["name"] for symbol in report["symbols"]
        if symbol["isExported"] and (not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"])]


def main():
    lines = MISTAKES.read_text(encoding="utf-8").split("\n")
    marked = {number for number, line in enumerate(lines, 1) if line.endswith(MARK)}
    right = [path for path in sorted(HERE.glob("*.py"))
             if path not in (MISTAKES, HERE / "__main__.py")]
    wrong = []
    for name, check, paths in (("mypy", mypy, ["atasker_like", *right]),
                               ("basedpyright", pyright, [HERE / "values.py"])):
        wrong += [f"{name}: {path}:{line}: {text}" for path, line, text in check(*paths)]
        errors = {line: text for path, line, text in check(MISTAKES) if path == MISTAKES.resolve()}
        wrong += [f"{name}: {MISTAKES}:{line}: finds no mistake"
                  for line in sorted(marked - set(errors))]
        wrong += [f"{name}: {MISTAKES}:{line}: {errors[line]}"
                  for line in sorted(set(errors) - marked)]
    share, names = incomplete()
    if share < COMPLETE:
        wrong += [f"basedpyright: the type of {name} is not complete" for name in names]
    print("\n".join(wrong)
          or f"mypy and basedpyright find each of {len(marked)} mistakes, and no other; "
          f"{share:.1%} of the types are complete")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
