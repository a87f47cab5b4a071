"""Sphinx configuration."""
import os
import sys

sys.path.insert(0, os.path.abspath(".."))

project = "atasker_like"
copyright = "the authors of atasker_like"
extensions = ["sphinx.ext.autodoc"]
autodoc_typehints = "none"
autodoc_member_order = "bysource"
exclude_patterns = ["_build", "changes"]
html_theme = "alabaster"
