"""Sphinx configuration."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(HERE, "_ext")]

from sphinx.pycode import ModuleAnalyzer  # noqa: E402

import atasker_like  # noqa: E402

project = "atasker_like"
copyright = "the authors of atasker_like"
version = release = atasker_like.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "public_names",
]
exclude_patterns = ["_build", "changes"]
highlight_language = "python3"
# Text after this line may say :class:`Task`; the name is looked up in the package.
rst_prolog = ".. py:currentmodule:: atasker_like\n"

# The inventory is a file of this repository: the build needs no network.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", os.path.join(HERE, "inventories", "python.inv")),
}

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 72

# One signature for each function: overloads are for type checkers.
_analyze = ModuleAnalyzer.analyze


def _analyze_without_overloads(self):
    _analyze(self)
    self.overloads = {}


ModuleAnalyzer.analyze = _analyze_without_overloads

nitpicky = True
nitpick_ignore_regex = [
    # Their documented names are those of private modules.
    (r"py:.*", r"atasker_like\.(engine|pools|queues|results|service|supervisor|workers)\..*"),
    (r"py:.*", r"(.*\.)?_\w+(\.\w+)*"),
]

html_theme = "furo"
html_title = f"atasker_like {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sphinx = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "monokai"

# The copy button leaves out prompts and output.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

trim_doctest_flags = True
