"""How the package runs: natively, or in the position of atasker."""
from __future__ import annotations

__all__ = ["legacy"]

#: True between ``legacy.install()`` and ``legacy.uninstall()``: programs rely on what atasker does.
legacy = False
