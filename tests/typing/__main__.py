"""Compare what type checkers report with what the files of this folder expect.

``python -m tests.typing`` needs mypy and basedpyright. It checks three things: mypy --strict finds
nothing in the package and in the files here; basedpyright finds nothing in ``values.py``; and in
``mistakes.py``, both find an error in each line with a mark, and in no other one.
"""
import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MISTAKES = HERE / "mistakes.py"
MARK = "# mistake"


def mypy(*paths):
    """Return the errors as (path, line, text)."""
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", *map(str, paths)], cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    if done.returncode not in (0, 1):
        sys.exit(f"mypy failed:\n{done.stdout}{done.stderr}")
    found = re.findall(r"^(.+?):(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    return [((ROOT / path).resolve(), int(line), text) for path, line, text in found]


def pyright(*paths):
    """Return the errors as (path, line, text)."""
    done = subprocess.run([sys.executable, "-m", "basedpyright", "--level", "error",
                           "--outputjson", *map(str, paths)], cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        sys.exit(f"basedpyright failed:\n{done.stdout}{done.stderr}")
    return [(Path(entry["file"]).resolve(), entry["range"]["start"]["line"] + 1, entry["message"])
            for entry in report["generalDiagnostics"] if entry["severity"] == "error"]


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
    print("\n".join(wrong)
          or f"mypy and basedpyright find each of {len(marked)} mistakes, and no other")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
