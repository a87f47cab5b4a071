"""What the docstring of each name in the reference has: arguments, results, errors, threads, and
an example."""
import ast
import enum
import importlib
import inspect
import pathlib
import re
import textwrap

import pytest

from tests.support import ROOT

REFERENCE = pathlib.Path(ROOT) / "docs" / "reference"

_ENTRY = re.compile(r"^\.\. auto(class|function):: ([\w.]+)(\(.*\))?\n((?:   .*\n)*)", re.MULTILINE)


#: Names of arguments that are numbers of things, or of bytes.
_SIZE = re.compile(r"(^|_)(size|limit|bytes|memory|workers|message|flight|clients|queued|abandoned"
                   r"|waiting|results|buffersize|length|processes|maxtasksperchild)$")
#: What such a number counts.
_COUNTED = (r"\b(slots?|tasks?|threads?|process(es)?|calls?|items?|bytes|MiB|requests?|clients?"
            r"|connections|results?|characters|coroutines?|text)\b")
_DURATION = re.compile(r"(^|_)(timeout|delay|interval|ttl|age|aging|within|countdown|jitter_s)$")


def is_duration(parameter):
    return "Seconds" in str(parameter.annotation) or "timedelta" in str(parameter.annotation) or (
        bool(_DURATION.search(parameter.name)) and "bool" not in str(parameter.annotation))


def resolve(path):
    """Return the object of an entry: a public path, relative to the package or not."""
    names = path.split(".")
    names = names[1:] if names[0] == "atasker_like" else names
    found = importlib.import_module("atasker_like")
    for name in names:
        if not hasattr(found, name):
            importlib.import_module(f"{found.__name__}.{name}")
        found = getattr(found, name)
    return found


def entries():
    """Yield the path, the object, and whether it is shown without arguments, of each entry."""
    for page in sorted(REFERENCE.glob("*.rst")):
        text = page.read_text(encoding="utf-8")
        module = "service." if page.name == "service.rst" else ""
        for kind, path, bare, options in _ENTRY.findall(text + "\n"):
            path = module + path
            thing = resolve(path)
            yield path, thing, bare == "()" or kind == "class" and not has_arguments(thing)
            if kind == "class" and ":members:" in options:
                yield from members(path, thing, options)


def members(path, cls, options):
    """Yield the methods of a class that its entry shows."""
    named = re.search(r":members: (.+)", options)
    excluded = re.search(r":exclude-members: (.+)", options)
    excluded = set(excluded.group(1).split(", ")) if excluded else set()
    if named:
        names = named.group(1).split(", ")
    elif ":inherited-members:" in options:
        names = [name for name in dir(cls) if not name.startswith("_")]
    else:
        names = [name for name in vars(cls) if not name.startswith("_")]
    for name in names:
        value = inspect.getattr_static(cls, name)
        value = getattr(value, "__func__", value)
        if name not in excluded and inspect.isfunction(value) and value.__doc__:
            yield f"{path}.{name}", value, False


def has_arguments(cls):
    return not issubclass(cls, enum.Enum) and bool(
        {"__init__", "__new__", "__post_init__"} & set(vars(cls)))


def parameters(thing):
    """Return the names of the arguments, without ``self`` and those that are left out of pages."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [name for name, parameter in inspect.signature(thing).parameters.items()
            if name not in ("self", "cls") and not name.startswith("_")
            and parameter.kind not in kinds]


def explained(doc):
    """Return the arguments with a field of their own, or a common one."""
    fields = re.findall(r"^:param ([^:]+):", doc, re.MULTILINE)
    return {name for field in fields for name in field.split(", ")}


def fields(doc):
    """Return the text of each argument's field, by the name of the argument."""
    found = {}
    for names, text in re.findall(r"^:param ([^:]+): (.*\n(?:[ ]+.*\n|\n(?=[ ]))*)", doc + "\n",
                                  re.MULTILINE):
        found.update(dict.fromkeys(names.split(", "), " ".join(text.split())))
    return found


def documented_parameters():
    """Yield the path, the parameter and its text for each argument that a page shows."""
    for path, thing, bare in ENTRIES:
        if bare:
            continue
        texts = fields(inspect.getdoc(thing) or "")
        found = inspect.signature(thing).parameters
        for name in parameters(thing):
            yield f"{path}({name})", found[name], texts.get(name, "")


def returns_value(function):
    annotation = str(inspect.signature(function).return_annotation)
    return annotation not in ("None", "", "NoReturn", str(inspect.Signature.empty))


def raised(function):
    """Return the errors of ``raise`` statements in the function itself."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = getattr(node.exc.func, "id", "")
            if name.endswith("Error"):
                found.add(name)
    return found


ENTRIES = list(entries())
NAMES = [entry for entry in ENTRIES if isinstance(entry[1], type) or "." not in
         re.sub(r"^(service|atasker_like|legacy|testing)\.", "", entry[0])]


FUNCTIONS = [(path, thing) for path, thing, _ in ENTRIES if not isinstance(thing, type)]


def test_entries_are_found():
    assert len(ENTRIES) > 200 and len(NAMES) > 50


def test_docstrings_explain_each_argument():
    missing = {}
    for path, thing, bare in ENTRIES:
        known = explained(inspect.getdoc(thing) or "")
        if not bare and not known.issuperset(parameters(thing)):
            missing[path] = [name for name in parameters(thing) if name not in known]
    assert missing == {}


def test_docstrings_name_the_default_of_each_argument_that_has_one():
    assert [path for path, parameter, text in documented_parameters()
            if parameter.default is not parameter.empty and "(default: " not in text] == []


def test_docstrings_name_the_unit_of_each_duration_and_size():
    durations, sizes = set(), set()
    for path, parameter, text in documented_parameters():
        if is_duration(parameter) and not re.search(r"seconds?\b|\d s\b", text):
            durations.add(path)
        elif _SIZE.search(parameter.name) and not re.search(_COUNTED, text):
            sizes.add(path)
    assert (durations, sizes) == (set(), set())


def test_durations_and_sizes_are_found():
    found = list(documented_parameters())
    assert sum(is_duration(parameter) for _, parameter, _ in found) > 50
    assert sum(bool(_SIZE.search(parameter.name)) for _, parameter, _ in found) > 20


@pytest.mark.parametrize("text", [
    ":param timeout: seconds to wait\n    (default: 5).\n:return: x", ":param a, timeout: seconds"])
def test_a_field_is_read_to_its_end(text):
    found = fields(text)["timeout"]
    assert found.startswith("seconds") and ":return" not in found
    assert "(default: 5)" in found or "\n" not in text


def test_docstrings_name_the_result():
    assert [path for path, function in FUNCTIONS if returns_value(function)
            and not re.search(r"return|yield", inspect.getdoc(function), re.IGNORECASE)] == []


def test_docstrings_name_the_errors_that_the_function_itself_raises():
    missing = {}
    for path, function in FUNCTIONS:
        for name in raised(function):
            if f":raises {name}:" not in inspect.getdoc(function):
                missing.setdefault(path, []).append(name)
    assert missing == {}


def test_docstrings_of_names_tell_which_threads_may_use_them():
    assert [path for path, thing, _ in NAMES
            if not re.search(r"\bthreads?\b", inspect.getdoc(thing))] == []


def test_docstrings_of_names_have_an_example():
    assert [path for path, thing, _ in NAMES if ">>> " not in inspect.getdoc(thing)] == []
