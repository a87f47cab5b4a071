"""Sphinx extension: a literal that is a public name links to its entry in the reference.

``wait_completed()``, ``Task.cancel`` and ``task.cancel()`` need no role. The build counts the links
from guides to the reference, and warns if there are fewer than ``LEAST_LINKS``.
"""
import pathlib
import re

from docutils import nodes
from sphinx import addnodes
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

log = logging.getLogger(__name__)

#: Links from guides into the reference that there must be.
LEAST_LINKS = 150

GUIDES = ("index", "install", "tutorial/", "howto/", "explanation/")

#: The class of an object that guides call by this name.
CLASSES = {
    "task_supervisor": "TaskSupervisor",
    "supervisor": "TaskSupervisor",
    "task": "Task",
    "current_task()": "Task",
    "queue": "ThreadQueue",
    "handle": "SyncTaskHandle",
    "group": "SyncTaskGroup",
    "summary": "RunSummary",
    "worker": "BackgroundQueueWorker",
    "job": "AsyncJob",
    "lane": "Lane",
    "checkpoint": "Checkpoint",
    "backend": "Backend",
    "client": "service.SyncClient",
    "server": "service.Server",
    "report": "StopReport",
}

#: Words that are names of functions and have another meaning in most sentences.
AMBIGUOUS = {"run", "g"}

_NAME = re.compile(r"@?((?:current_task\(\)\.)?[A-Za-z_][\w.]*)(\(.*\))?", re.DOTALL)


def targets(text):
    """Yield the full names that a literal may mean."""
    match = _NAME.fullmatch(text)
    if match is None or match.group(1) in AMBIGUOUS:
        return
    name = match.group(1)
    if name.startswith("atasker_like."):
        yield name
        return
    yield "atasker_like." + name
    head, _, rest = name.rpartition(".")
    if head in CLASSES:
        yield f"atasker_like.{CLASSES[head]}.{rest}"


def unique_methods(domain):
    """Return the methods that only one class has, by their names with ``()``."""
    found = {}
    for name, entry in domain.objects.items():
        if entry.objtype == "method":
            found.setdefault(name.rpartition(".")[2] + "()", []).append(name)
    return {text: names for text, names in found.items() if len(names) == 1}


def link_literals(app, doctree, docname):
    if not docname.startswith((*GUIDES, "reference/", "development/", "changelog")):
        return
    domain = app.env.domains["py"]
    methods = unique_methods(domain)
    for literal in list(doctree.findall(nodes.literal)):
        parents = (nodes.reference, nodes.title, nodes.term)
        if isinstance(literal.parent, parents) or "xref" in literal.get("classes", ()):
            continue
        text = literal.astext()
        for name in [*targets(text), *methods.get(text, ())]:
            entry = domain.objects.get(name)
            if entry is not None and entry.objtype != "module":
                copy = literal.deepcopy()
                link = make_refnode(app.builder, docname, entry.docname, entry.node_id, copy, name)
                literal.replace_self(link)
                break
    count_links(app, doctree, docname)


def count_links(app, doctree, docname):
    if docname.startswith(GUIDES):
        found = [link for link in doctree.findall(nodes.reference)
                 if "/reference/" in "/" + link.get("refuri", "") and "://" not in link["refuri"]]
        app.env.links_to_reference[docname] = len(found)


def keep_type_name(app, env, node, contnode):
    """Leave the name of a type in a signature as text if it is no public object.

    Such names are type variables, protocols and aliases; ``reference/index`` explains those that
    readers see. A name in a text, or behind ``:raises``, is a broken link.
    """
    while node is not None and not isinstance(node, addnodes.desc_signature):
        node = node.parent
    return node and contnode


def provisional_names(app):
    page = pathlib.Path(app.srcdir, "reference", "status.rst").read_text(encoding="utf-8")
    return set(re.findall(r"^- ``(\w+)``$", page, re.MULTILINE))


def mark_provisional(app, what, name, obj, options, lines):
    """Note the status of a name above its docstring; all names of services are provisional."""
    package, _, rest = name.rpartition(".")
    if (package == "atasker_like" and rest in provisional_names(app)
            or package in ("atasker_like.service", "atasker_like.testing")):
        lines[:0] = ["*Provisional:* see :doc:`/reference/status`.", ""]


def prepare(app, env, docnames):
    env.links_to_reference = {}


def report_links(app, error):
    guides = [name for name in app.env.found_docs if name.startswith(GUIDES)]
    if error is None and len(app.env.links_to_reference) == len(guides):    # a build of all pages
        number = sum(app.env.links_to_reference.values())
        log.info("%d links from guides to the reference", number)
        if number < LEAST_LINKS:
            log.warning("there are %d links from guides to the reference, not %d",
                        number, LEAST_LINKS)


def setup(app):
    app.connect("env-before-read-docs", prepare)
    app.connect("autodoc-process-docstring", mark_provisional)
    # after intersphinx
    app.connect("missing-reference", keep_type_name, priority=900)
    app.connect("doctree-resolved", link_literals)
    app.connect("build-finished", report_links)
    return {"parallel_read_safe": False, "parallel_write_safe": False}
