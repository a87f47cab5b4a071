"""Plugins of pytest that the tests use; `tests/conftest.py` loads them."""
