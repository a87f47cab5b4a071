"""Compare what type checkers report with what the files of this folder expect.

``python -m tests.typing`` needs basedpyright, jedi and mypy. It checks:

* mypy --strict finds nothing in the package, in the files here, and in the examples of ``PAGES``;
  nor does it in the examples of the other pages and in their programs, if it accepts functions
  without annotations;
* basedpyright finds nothing in ``values.py``;
* in ``mistakes.py``, both find an error in each line with a mark, and in no other one;
* in the types of ``reveals.py``, hardly any ``Any`` is left;
* basedpyright knows the types of nearly all public names of the package (``--verifytypes``);
* jedi, which completes names in editors and in IPython, finds the names of ``COMPLETED``.
"""
import doctest
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MISTAKES = HERE / "mistakes.py"
MARK = "# mistake"
ENVIRONMENT = dict(os.environ, PYTHONPATH=str(ROOT), MYPYPATH=str(ROOT))

#: The least share of the package's public names whose types are complete.
COMPLETE = 0.98

#: The most types in reveals.py that may contain Any.
MOST_ANY = 6

#: Pages whose examples are complete programs with types.
PAGES = ("docs/howto/migrate_concurrent_futures.rst", "docs/howto/migrate_multiprocessing.rst",
         "docs/reference/executors.rst")

#: Pages whose examples import what does not exist for a type checker.
UNCHECKED = {"docs/howto/migrate_atasker.rst"}

#: Programs of the pages. Of the others, one is written for atasker, and one shows a mistake.
PROGRAMS = [path.resolve() for path in sorted((ROOT / "docs" / "examples").rglob("*.py"))
            if path.name not in ("meters.py", "experiment.py", "gunicorn.conf.py")]

#: Examples leave annotations out, use the name of an earlier example again, and import packages
#: that are not installed.
UNTYPED = ("--allow-untyped-defs", "--allow-untyped-calls", "--allow-incomplete-defs",
           "--allow-untyped-decorators", "--allow-subclassing-any", "--allow-redefinition",
           "--disable-error-code=no-redef", "--disable-error-code=var-annotated",
           "--disable-error-code=import-not-found", "--disable-error-code=import-untyped")

PROGRAM = """
import atasker_like
from atasker_like import ThreadQueue, background_task, task_supervisor, wait_completed

@background_task(retries=2)
def fetch(url: str) -> bytes: ...

queue = ThreadQueue()
"""

#: Names that an editor offers behind each expression in that program.
COMPLETED = {
    "atasker_like.": {"background_task", "AsyncQueue", "TaskSupervisor", "service"},
    "task_supervisor.": {"put_task", "lane", "stop"},
    "queue.": {"submit", "map", "run"},
    "fetch.": {"map", "options", "starmap"},
    "fetch('a').": {"cancel", "value", "wait"},
    "background_task(": {"fetch", "queue"},
}


def mypy(*paths, level="error", options=()):
    """Return the errors, or the notes, as (path, line, text)."""
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", *options, *map(str, paths)],
                          cwd=ROOT, env=ENVIRONMENT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    if done.returncode not in (0, 1):
        sys.exit(f"mypy failed:\n{done.stdout}{done.stderr}")
    found = re.findall(rf"^(.+?):(\d+): {level}: (.*)$", done.stdout, re.MULTILINE)
    return [((ROOT / path).resolve(), int(line), text) for path, line, text in found]


def basedpyright(*arguments):
    """Return its report."""
    done = subprocess.run([sys.executable, "-m", "basedpyright", "--outputjson",
                           *map(str, arguments)],
                          cwd=ROOT, env=ENVIRONMENT,
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


def write_examples(folder, pages):
    """Write the examples of each page as a program, with their lines where they are there.

    An example that raises shows a mistake, and is left out.
    """
    for page in pages:
        text = (ROOT / page).read_text(encoding="utf-8")
        lines = [""] * text.count("\n")
        for example in doctest.DocTestParser().get_examples(text):
            if example.exc_msg is None:
                code = example.source.rstrip("\n").split("\n")
                lines[example.lineno:example.lineno + len(code)] = code
        if any(lines):
            path = Path(folder, page.replace("/", "_").replace(".rst", ".py")).resolve()
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            yield path


def wrong_examples():
    """Yield a message for each error in the examples of the pages."""
    pages = [page.relative_to(ROOT).as_posix()
             for page in (ROOT / "README.rst", *sorted((ROOT / "docs").rglob("*.rst")))]
    others = [page for page in pages if page not in UNCHECKED and page not in PAGES]
    for some, programs, options in ((PAGES, [], ()), (others, PROGRAMS, UNTYPED)):
        with tempfile.TemporaryDirectory() as folder:
            paths = [*write_examples(folder, some), *programs]
            # With options that are not those of the package, mypy finds errors there, too.
            yield from (f"mypy: {path.name}, an example of a page: {line}: {text}"
                        for path, line, text in mypy(*paths, options=options) if path in paths)


def not_completed():
    import jedi

    project = jedi.Project(str(ROOT))
    for expression, names in COMPLETED.items():
        found = jedi.Script(PROGRAM + expression, project=project).complete()
        for name in sorted(names - {completion.name for completion in found}):
            yield f"jedi: {expression}{name} is not completed"


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
    wrong += wrong_examples()
    types = [text for path, _, text in mypy(HERE / "reveals.py", level="note")
             if text.startswith("Revealed type")]
    loose = [text for text in types if re.search(r"\bAny\b", text)]
    if len(loose) > MOST_ANY:
        wrong += [f"mypy: reveals.py: {text}" for text in loose]
    wrong += not_completed()
    share, names = incomplete()
    if share < COMPLETE:
        wrong += [f"basedpyright: the type of {name} is not complete" for name in names]
    print("\n".join(wrong)
          or f"mypy and basedpyright find each of {len(marked)} mistakes, and no other; "
          f"{share:.1%} of the types are complete; {len(loose)} of {len(types)} revealed types "
          "contain Any")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
