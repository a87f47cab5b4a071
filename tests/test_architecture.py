"""The layers of the package, read from the imports."""
import ast
import os
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

import atasker_like
from tests.support.sources import tree_of

PACKAGE = Path(atasker_like.__file__).parent

#: The order of imports: every entry imports only from those before it, of its own layer or
#: a lower one.
#: A package whose files are listed is ordered by them; another one is one entry.
LAYERS = [
    [
        "_modes",
        "_patched",
        "_generics",
        "constants",
        "_core_errors",
        "errors",
    ],
    [
        "_threads",
        "_atomics",
        "_hints",
        "_inspect",
        "_fork",
        "_log",
        "_checks",
        "_habits",
        "options",
        "_display",
        "_progress",
        "_ids",
        "_retry",
        "_remote_task",
        "_sqlite",
    ],
    [
        "engine",
        "engine.current",
        "engine.blocking",
        "engine.loop_mailbox",
        "engine.parking",
        "engine.registry",
        "engine.reports",
        "engine.result",
        "engine.spec",
        "engine.callbacks",
        "engine.deferred",
        "engine.suspended",
        "engine.stuck_lanes",
        "engine.initializers",
        "engine.waits",
        "engine.wait_messages",
        "engine.wait_graph",
        "engine.wait_group",
        "engine.requests",
        "engine.future",
        "engine.task_fields",
        "engine.task",
        "engine.lanes",
        "engine.run_queue",
        "engine.timer",
        "engine.timeouts",
        "engine.lifecycle",
        "loops",
        "_watching",
        "_wait_arguments",
        "waiting",
    ],
    [
        "jobs",
        "pools",
        "pools.executor",
        "pools.notifier",
        "pools.backpressure",
        "pools.rollback",
        "pools.cancelling",
        "pools.lane_events",
        "pools.base",
        "pools.views",
        "pools.coroutines",
        "pools.executor.adapters",
        "pools.executor.prefetch",
        "pools.process",
        "pools.process.log_relay",
        "pools.process.descriptors",
        "pools.process.buffers",
        "pools.process.child",
        "pools.process.pool_process",
        "pools.process.kept_memory",
        "pools.process.deferred_writer",
        "pools.executor.remote_call",
        "pools.process.io_thread",
        "pools.process.protocol",
        "pools.executor.packing",
        "pools.executor.messages",
        "pools.executor.pool",
        "pools.process.fork_server",
        "pools.process.environment",
        "pools.process.exit_status",
        "pools.process.start_errors",
        "pools.process.main_module",
        "pools.process.serializer",
        "pools.process.task_packer",
        "pools.process.spawn",
        "pools.process.template",
        "pools.process.starter",
        "pools.process.dispatcher",
        "pools.process.log_forwarder",
        "pools.process.process_set",
        "pools.process.result_reader",
        "pools.process.exits",
        "pools.process.pool",
        "pools.pool_thread",
        "pools.thread_starter",
        "pools.threads",
    ],
    [
        "supervisor.attributes",
        "supervisor.overrides",
        "supervisor.snapshots",
        "supervisor.interpreter_exit",
        "supervisor.unmade_parts",
        "supervisor.ownership",
        "supervisor.run_state",
        "supervisor.late_starts",
        "supervisor.pool_manager",
        "supervisor.process_pools",
        "supervisor.spec_factory",
        "supervisor.job_schedulers",
        "supervisor.schedulers",
        "supervisor.displays",
        "supervisor.stats",
        "supervisor.shutdown",
        "supervisor.tracebacks",
        "supervisor.parts",
        "supervisor.supervisor",
        "supervisor",
    ],
    [
        "locals",
        "tasks",
        "executors",
        "collections",
    ],
    [
        "queues",
        "queues.item_keys",
        "queues.calls",
        "queues.bound",
        "queues.checkpoint",
        "queues.signatures",
        "queues.config",
        "queues.handles",
        "queues.hooks",
        "queues.submission",
        "queues.summary",
        "queues.groups",
        "queues.ledger",
        "queues.queue_tasks",
        "queues.steps",
        "queues.base",
        "queues.async_queue",
        "queues.sync_queue",
        "queues.maps",
        "service",
        "service.addresses",
        "service.codecs",
        "service.codecs.codec",
        "service.codecs.scalars",
        "service.codecs.containers",
        "service.codecs.schema",
        "service.framing",
        "service.task",
        "service.wire",
        "service.client_connection",
        "service.connection",
        "service.server",
        "service.handlers",
        "service.service",
        "service.client",
        "service.sync_client",
        "results.stored",
        "results.serializer",
        "results.writer",
        "results.requests",
        "results.backend",
        "results.handles",
        "results.memory",
        "results.sqlite",
        "results",
        "workers.signatures",
        "workers.item_queues",
        "workers.triggers",
        "workers.loop_queues",
        "workers.runners",
        "workers.session",
        "workers.base",
        "workers.kinds",
        "workers.decorator",
        "workers",
    ],
    [
        "demo",
        "legacy",
        "_completion",
        "cli",
        "testing",
    ],
]

#: Stand outside: the front door loads everything on first use, and `python -m` opens the command
#: line.
DOORS = {"__init__", "__main__"}

#: Imports only of these, so that a pool process starts fast.
ONLY = {"pools.process.child": {"constants", "errors", "options", "_core_errors", "_fork", "_ids",
                                "_inspect", "_remote_task", "_retry",
                                "pools.process",
                                "pools.process.log_relay",
                                "pools.process.buffers"},       # with the first buffer
        "pools.process.buffers": {"_core_errors", "_fork", "_inspect", "errors",
                                  "pools.process.descriptors"},
        "pools.process.log_relay": set()}

#: Imports for type checkers that close a circle. To break one, a protocol in the lower file says
#: what that needs of the upper one. The list only becomes shorter.
CIRCULAR = {
    ("engine.current", "engine.task"),      # current_task() returns a Task
}

#: Lines that a file and a function may have, and methods that a class may define.
MOST_LINES = 700
MOST_FUNCTION_LINES = 60
MOST_METHODS = 60

#: What exceeds these, with the reason. The list only becomes shorter.
LONG: "set[str]" = set()
LONG_FUNCTIONS = {
    # The loop of a pool thread.
    "pools.threads._thread_main",
}
LARGE_CLASSES: "set[str]" = set()

#: Columns that a line may have.
MOST_COLUMNS = 100

#: Words that no identifier and no file name of the package contains, with the word to use instead.
#: An entry of several words stands for these words in a row.
STRUCK_WORDS = {
    "place": "slot", "places": "slots", "turn": "lane entry", "turns": "lane entries",
    "chore": "deferred call", "chores": "deferred calls", "gate": "parking lot",
    "gates": "parking lot", "shift": "session", "shifts": "sessions", "rhythm": "trigger",
    "rhythms": "triggers", "ceaseless": "continuous", "inbox": "queue", "inboxes": "queues",
    "outlet": "adapter", "outlets": "adapters", "outside": "remote, or blocked submitters",
    "news": "pending", "told": "reported, or flushed", "teller": "notifier", "telling": "notifier",
    "latecomer": "late start", "latecomers": "late starts", "give up": "abandon",
    "given up": "abandoned", "gives up": "abandons", "admission": "run queue",
    "intake": "backpressure", "crowded": "full", "barred": "refused", "aftermath": "wait group",
    "bell": "waiter", "bells": "waiters", "beside": "spawn", "elsewhere": "defer to a thread",
    "busy here": "reentrant", "neighbour": "outer pool", "neighbours": "outer pools",
    "composer": "deferred writer", "composing": "deferred writer", "upkeep": "process set",
    "risen": "dispatch more", "attentive": "has observers", "attend": "notify observers",
    "grow older": "promote", "let in": "wake", "turned away": "rejected", "look again": "retry",
    "unfed": "since refill", "outworn": "should recycle", "unfit": "broken",
    "carry on": "finish anyway", "cut short": "interrupted", "desert": "fail",
    "let go": "quarantine", "heir": "successor token", "called off": "aborted", "call off": "abort",
    "dealt with": "done", "give back": "return", "look ahead": "before first step",
    "begin anew": "reset", "stop rest": "cancel unfinished", "run out": "timeout",
    "made again": "rebuild", "look like": "copy identity",
    "misfit": "signature error, or field error", "misfits": "field errors",
    "hurried": "non-blocking", "milestone": "event view", "walk in": "try acquire",
    "push back": "requeue", "dead prevail": "mostly cancelled", "guardian": "lifetime task",
    "forsake": "detach", "fronts": "methods", "oneshot": "maps", "coder": "codec",
}

#: Identifiers that were replaced, although their words are good in other identifiers.
STRUCK_NAMES = {
    "Coder", "FromQueue", "FutureWatcher", "Lender", "Link", "LoopPool", "OnCall", "Owner", "Page",
    "Periodic", "Place", "Prepared", "Ready", "Settings", "Submitting", "_Arrivals",
    "_AsyncioQueue", "_CHUNK", "_Made", "_Mark", "_Noting", "_Patience", "_WHERE", "_alarm",
    "_ask_giver", "_call_back", "_coming", "_decide", "_dismissed", "_drive", "_entering",
    "_filled", "_gather", "_give", "_give_all", "_guard", "_halting", "_halts", "_has_ended",
    "_holds", "_is_failing", "_more", "_over", "_pickled", "_rank", "_room", "_seq", "_set_up",
    "_settle", "_steer", "_to_give", "_too_slow", "_trusted", "_unwatch", "_wait_told", "_watchers",
    "_why", "_work", "at_once", "begin_here", "calls_of", "expect", "form_of", "is_bound_task",
    "is_coming_here", "is_next", "is_worker", "leads_to", "met_dead", "push_run", "recount",
    "take_run", "taken_of", "terse", "watch_errors", "when_over",
}

#: The struck words and names that are left, by part of the package, with the reason.
#: The list only becomes shorter.
STRUCK_LEFT = {
    # An argument of Client: the address of a service.
    "service": {"place"},
}

#: Private names of the package that are atasker's: programs and monitors read them.
OF_ATASKER = {"_is_worker", "_run_in_mp"}

#: Private names that tests use of other libraries, and that the package has, too. By the test.
OF_OTHER_LIBRARIES = {
    "benchmarks/__main__.py": {"_is_gil_enabled"},
    "contract/kinds.py": {"_pool"},
    "contract/test_external.py": {"_client", "_max_workers"},
    "contract/test_external_messages.py": {"_client"},
    "contract/test_loop_exits.py": {"_run_once"},
    "faults/daemons.py": {"_fd", "_stop"},
    "faults/implementations.py": {"_pool", "_processes"},
    "faults/work.py": {"_handle", "_send"},
    "integration/legacy/programs/differs_details.py": {"_put"},
    "integration/service/test_endings.py": {"_callbacks"},
    "interop/contract.py": {"_client"},
    "unit/pools/process/test_descriptors.py": {"_args", "_fd"},
    "unit/pools/process/test_main_module.py": {"_name"},
    "unit/workers/test_queue_classes.py": {"_get", "_put"},
}

ORDER = {name: (layer, place) for layer, names in enumerate(LAYERS) for place,
         name in enumerate(names)}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        yield ".".join(parts), path


MODULES = dict(modules())


def is_package(name):
    return MODULES[name].name == "__init__.py"


class Imports(ast.NodeVisitor):
    """Collects (module of the package, whether for type checkers only, line)."""

    def __init__(self, name):
        self._package = ["atasker_like", *name.split(".")]
        if name == "__init__":
            self._package = ["atasker_like"]
        elif not is_package(name):
            self._package.pop()
        self._typing = False
        self.found = []

    def visit_If(self, node):
        typing = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        was, self._typing = self._typing, self._typing or typing
        for child in node.body:
            self.visit(child)
        self._typing = was
        for child in node.orelse:
            self.visit(child)

    def visit_Import(self, node):
        for alias in node.names:
            self._add(alias.name, node.lineno)

    def visit_ImportFrom(self, node):
        base = node.module or ""
        if node.level:
            base = ".".join(self._package[:len(self._package) - node.level + 1]
                            + ([base] if base else []))
        for alias in node.names:
            if base == "atasker_like" and alias.name == "__version__":
                continue            # the one thing that only the front door knows
            inner = f"{base}.{alias.name}".partition("atasker_like.")[2]
            self._add(f"{base}.{alias.name}" if base.startswith("atasker_like")
                      and inner in MODULES else base,
                      node.lineno)

    def _add(self, name, line):
        if name.split(".")[0] == "atasker_like":
            self.found.append((name.partition(".")[2] or "__init__", self._typing, line))


@lru_cache(maxsize=None)
def imports_of(name):
    visitor = Imports(name)
    visitor.visit(tree_of(MODULES[name]))
    return visitor.found


def place_of(name):
    """Where a module stands; what is inside a package that is one entry stands where the package
    does."""
    package = name.partition(".")[0]
    if name not in ORDER and not any(other.startswith(package + ".") for other in ORDER):
        return ORDER.get(package)
    return ORDER.get(name)


inner_modules = pytest.mark.parametrize("name", sorted(set(MODULES) - DOORS))


@inner_modules
def test_every_file_is_in_the_layout(name):
    assert place_of(name) is not None, (
        f"{name} stands in no layer: give it a place in LAYERS, and in the design")


@inner_modules
def test_a_file_imports_only_what_stands_before_it(name):
    mine = place_of(name)
    for imported, typing, line in imports_of(name):
        where = f"{MODULES[name].name}:{line} imports {imported}"
        assert imported != "__init__", f"{where}: no file needs the front door"
        theirs = place_of(imported)
        assert theirs is not None, where
        if typing:
            assert theirs[0] <= mine[0], f"{where}, of a higher layer"
        # inside one entry: its own affair
        elif imported != name and not (theirs == mine and "." in imported):
            assert theirs < mine, f"{where}, which does not stand before it"


def reachable(graph, start):
    """Return what a module imports, directly or not."""
    found, ahead = set(), [start]
    while ahead:
        for name in graph[ahead.pop()] - found:
            found.add(name)
            ahead.append(name)
    return found


def test_imports_have_no_circle_not_even_for_type_checkers():
    graph = {name: {imported for imported, _, _ in imports_of(name) if imported in MODULES
                    and imported not in DOORS and imported != name}
             for name in MODULES if name not in DOORS}
    broken = {name: {imported for imported in graph[name] if (name, imported) not in CIRCULAR}
              for name in graph}
    in_circles = sorted(name for name in broken if name in reachable(broken, name))
    assert not in_circles
    settled = {(name, imported) for name, imported in CIRCULAR
               if imported not in graph.get(name, ()) or name not in reachable(graph, imported)}
    assert not settled, "these close no circle any more: take them out of CIRCULAR"


@pytest.mark.parametrize("name", sorted(ONLY))
def test_what_must_start_fast_imports_only_words(name):
    for imported, typing, line in imports_of(name):
        assert typing or imported in ONLY[name], f"line {line} imports {imported}"


def test_the_front_door_loads_on_first_use():
    assert [imported for imported, typing, _ in imports_of("__init__") if not typing] == []


def test_the_reading_of_imports_sees_them():
    found = {imported for imported, typing,
             _ in imports_of("supervisor.process_pools") if not typing}
    assert {"errors", "pools.process.pool", "supervisor.pool_manager"} <= found
    assert ("pools.views", True) in {(imported, typing) for imported, typing,
                                     _ in imports_of("supervisor.process_pools")}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_no_file_sleeps(name):
    """Nothing polls: every wait is on a lock, a queue, a pipe or a computed deadline."""
    if name.split(".")[0] == "demo":
        return
    for node in ast.walk(tree_of(MODULES[name])):
        called = getattr(node, "func", None)
        assert "sleep" not in (getattr(called, "attr", ""),
                               getattr(called, "id", "")), f"line {node.lineno} sleeps"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_no_drawer_for_leftovers(name):
    assert not {"utils", "util", "helpers", "helper", "common", "misc"} & set(name.split("."))


def definitions_in(name, *kinds):
    """Yield the definitions of some kinds in a file, each with its full name."""
    for node in ast.walk(tree_of(MODULES[name])):
        if isinstance(node, kinds):
            yield f"{name}.{node.name}", node


FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def test_file_has_at_most_700_lines():
    assert {name for name, path in MODULES.items()
            if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES} <= LONG


def test_function_has_at_most_60_lines():
    assert {full for name in MODULES for full, node in definitions_in(name, *FUNCTION)
            if node.end_lineno - node.lineno >= MOST_FUNCTION_LINES} <= LONG_FUNCTIONS


def test_class_defines_at_most_60_methods():
    assert {full for name in MODULES for full, node in definitions_in(name, ast.ClassDef)
            if sum(isinstance(member, FUNCTION) for member in node.body) > MOST_METHODS
            } <= LARGE_CLASSES


def test_exceptions_from_the_limits_name_what_exists():
    existing = {full for name in MODULES for full, _ in definitions_in(name, ast.ClassDef,
                                                                       *FUNCTION)}
    assert LONG <= set(MODULES) and LONG_FUNCTIONS | LARGE_CLASSES <= existing


def test_no_line_has_more_than_100_columns():
    top = PACKAGE.parent
    files = [path for folder in ("atasker_like", "docs", "tests")
             for kind in ("*.py", "*.rst", "*.svg") for path in sorted((top / folder).rglob(kind))]
    found = [f"{path.relative_to(top)}:{number}" for path in [*sorted(top.glob("*.rst")), *files]
             for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
             if len(line) > MOST_COLUMNS and not line.startswith(".. autofunction:: ")]
    assert not found


#: A phrase in quotes is exempt, but not at the beginning of a docstring.
STRUCK_PHRASE = re.compile(r"""(?:(?<=["]{3})|(?<!['"|]))\b(?:whoever|whom|(?:return|of) who|"""
                           r"for ever|unless told|say whether)\b", re.IGNORECASE)


@pytest.mark.parametrize("path", sorted(
    str(path.relative_to(PACKAGE.parent)) for path in PACKAGE.parent.joinpath("tests").rglob("*.py")
    if path.name != "test_architecture.py" and "legacy" not in path.parts))
def test_no_struck_phrase_is_in_the_text_of_a_test(path):
    text = " ".join((PACKAGE.parent / path).read_text(encoding="utf-8").replace("#", " ").split())
    # A test of the language may name the phrases, in quotes.
    assert not STRUCK_PHRASE.findall(text)


def test_unit_tests_are_in_the_folders_of_the_package():
    unit = PACKAGE.parent / "tests" / "unit"
    assert {str(path.parent.relative_to(unit)) for path in unit.rglob("test_*.py")} <= {
        str(path.parent.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}


def words_of(identifier):
    """Return the words of an identifier in lower case, with a space before and after each."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", identifier)
    return f" {' '.join(words).lower()} "


def struck_in(identifier):
    """Return the struck words and names that an identifier has."""
    words = words_of(identifier)
    found = {struck for struck in STRUCK_WORDS if f" {struck} " in words}
    return found | {identifier} & STRUCK_NAMES


def identifiers_of(name):
    """Yield the words of a file's name and the identifiers in it, each with its line."""
    for part in name.split("."):
        yield part, 0
    for node in ast.walk(tree_of(MODULES[name])):
        for field, value in ast.iter_fields(node):
            # of several names, such as those of an import or of a global statement
            for each in value if isinstance(value, list) else (value,):
                if isinstance(each, str) and not isinstance(node, ast.Constant):
                    for part in each.split("."):
                        yield part, getattr(node, "lineno", 0)


def test_struck_words_are_in_no_identifier_and_no_file_name():
    more = []
    for name in MODULES:
        part = name.partition(".")[0]
        for identifier, line in identifiers_of(name):
            for struck in struck_in(identifier):
                if struck not in STRUCK_LEFT.get(part, ()):
                    use = STRUCK_WORDS.get(struck, "another name")
                    more.append(f"{MODULES[name]}:{line}: {identifier} (say {use})")
    assert not more


@pytest.mark.parametrize("identifier, struck", [
    ("chores", {"chores"}), ("_dispatch_chores", {"chores"}), ("_ScheduleOutlet", {"outlet"}),
    ("INBOX", {"inbox"}), ("given_up", {"given up"}), ("_give_up_all", {"give up"}),
    ("take_run", {"take_run"}), ("aggregate", set()), ("replace", set()), ("given", set()),
    ("returns", set()), ("_take_run", set()),
])
def test_struck_words_count_as_whole_words(identifier, struck):
    assert struck_in(identifier) == struck


PRIVATE_WORD = re.compile(r"\b_[A-Za-z]\w*")


def is_private(name):
    return PRIVATE_WORD.fullmatch(name) is not None


def names_set_by(tree):
    """Yield the names that a module or class defines: functions, classes and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, (*FUNCTION, ast.ClassDef)):
            yield node.name
        elif is_own_attribute(node) and isinstance(node.ctx, ast.Store):
            yield node.attr
        if isinstance(node, (ast.Module, ast.ClassDef)):
            for statement in filter(is_no_definition, node.body):
                for inner in ast.walk(statement):
                    if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                        yield inner.id
                    elif isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                        yield inner.value       # in __slots__


def is_own_attribute(node):
    """Return True for an attribute of ``self`` or ``cls``."""
    return (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            and node.value.id in ("self", "cls"))


def is_no_definition(node):
    return not isinstance(node, (*FUNCTION, ast.ClassDef))


@lru_cache(maxsize=None)
def private_names():
    """Return the private names that the package defines."""
    return {name for path in MODULES.values() for name in names_set_by(tree_of(path))
            if is_private(name)} - OF_ATASKER


class PrivateUses(ast.NodeVisitor):
    """Collects (private name of the package, line) of what a test takes from outside its classes.
    """

    #: What takes the name of an attribute as text.
    TAKE_NAMES = {"getattr", "setattr", "hasattr", "delattr"}

    def __init__(self):
        self._own = set()
        self.found = []

    def visit_ClassDef(self, node):
        before, self._own = self._own, self._own | set(names_set_by(node))
        self.generic_visit(node)
        self._own = before

    def visit_Attribute(self, node):
        if not (is_own_attribute(node) and node.attr in self._own):
            self._add(node.attr, node)
        self.generic_visit(node)

    def visit_Call(self, node):
        if getattr(node.func, "attr", getattr(node.func, "id", "")) in self.TAKE_NAMES:
            for argument in node.args[:2]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    for part in argument.value.split("."):
                        self._add(part, node)
        self.generic_visit(node)

    def visit_ImportFrom(self, node):
        module = node.module or ""
        if module.split(".")[0] == "atasker_like":
            for alias in node.names:
                if f"{module}.{alias.name}".partition(".")[2] not in MODULES:
                    self._add(alias.name, node)
        elif module.endswith("internals.replaced"):
            self.found.append(("Replaced", node.lineno))

    def _add(self, name, node):
        if name in private_names():
            self.found.append((name, node.lineno))


def private_uses(text):
    """Return the private names that the text of a test uses, each with its line."""
    visitor = PrivateUses()
    # Most tests have none, and reading the text is faster than visiting its syntax tree.
    if "internals.replaced" in text or not private_names().isdisjoint(PRIVATE_WORD.findall(text)):
        visitor.visit(ast.parse(text))
    return visitor.found


@lru_cache(maxsize=None)
def uses_by_test():
    """Return what private_uses() finds in each test outside ``support``, by its path."""
    top = PACKAGE.parent / "tests"
    return {path.relative_to(top).as_posix(): private_uses(path.read_text(encoding="utf-8"))
            for path in sorted(top.rglob("*.py")) if "support" not in path.relative_to(top).parts}


@pytest.mark.slow
def test_tests_take_private_members_from_support_only():
    found = [f"tests/{path}:{line}: {name}" for path, uses in uses_by_test().items()
             for name, line in uses if name not in OF_OTHER_LIBRARIES.get(path, ())]
    assert not found, "give these a name in tests/support/internals"


def test_private_names_of_other_libraries_are_used():
    used = {(path, name) for path, uses in uses_by_test().items() for name, _ in uses}
    listed = {(path, name) for path, names in OF_OTHER_LIBRARIES.items() for name in names}
    assert not listed - used, "take these out of OF_OTHER_LIBRARIES"


@pytest.mark.parametrize("code, found", [
    ("task._spec.lane", ["_spec"]), ("task._queued -= 1", ["_queued"]), ("self._spec", ["_spec"]),
    ("getattr(task, '_spec', None)", ["_spec"]), ("thread._started", ["_started"]),
    ("monkeypatch.setattr(starter, '_launch', print)", ["_launch"]),
    ("monkeypatch.setattr('atasker_like.loops._RunningLoop', None)", ["_RunningLoop"]),
    ("from atasker_like.loops import _RunningLoop", ["_RunningLoop"]),
    ("from tests.support.internals.replaced import Replaced", ["Replaced"]),
    ("from atasker_like import _fork", []), ("os._exit(0)", []), ("task.__dict__", []),
    ("worker._is_worker", []),
    ("class A:\n def f(self): self._spec = 1\n def g(self): return self._spec", []),
    ("class A:\n _spec = 1\n def g(self): return self._spec", []),
    ("class A:\n def g(self): return self._spec", ["_spec"]),
])
def test_the_reading_of_private_names_sees_them_in_tests(code, found):
    assert [name for name, _ in private_uses(code)] == found


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_file_says_what_it_is_for(name):
    assert ast.get_docstring(tree_of(MODULES[name]))


@pytest.mark.parametrize("statement, absent", [
    ("import atasker_like",
     {"asyncio", "multiprocessing", "sqlite3", "http", "concurrent.futures.thread",
      "atasker_like.supervisor"}),
    ("from atasker_like import task_supervisor, background_task, wait_completed, co_mp_apply",
     {"asyncio", "multiprocessing", "sqlite3", "http", "inspect", "typing", "dataclasses",
      "contextlib", "_pickle", "atasker_like.errors", "atasker_like.pools"}),
    ("import atasker_like.pools.process.child",
     {"asyncio", "atasker_like.supervisor", "atasker_like.engine"}),
])
def test_what_an_import_does_not_load(statement, absent):
    # What the standard library's logging loads is not this package's doing either: from Python 3.14
    # on, dataclasses.
    assert (loaded_by(statement) - loaded_by("import logging")) & absent == set()


def loaded_by(statement):
    # Without site: what an environment's .pth files load is not this package's doing.
    code = (f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); {statement}; "
            "print(*sys.modules)")
    return set(subprocess.run([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE,
                              check=True, timeout=30,
                              env=dict(os.environ, PYTHONPATH="")).stdout.decode().split())
