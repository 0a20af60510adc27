"""A folder whose modules are the choices of an option: a module that is put there is a choice, by its name.

``labelme_xml.py`` is ``labelme-xml`` on the command line. Modules whose names begin with
an underscore are what the others share. A module is imported when its choice is used.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def names(folder: str) -> tuple[str, ...]:
    """The choices in a package such as ``ranktag.tags.writers``, in alphabetical order; none of them is imported."""
    modules = pkgutil.iter_modules(importlib.import_module(folder).__path__)
    return tuple(sorted(module.name.replace("_", "-") for module in modules if not module.name.startswith("_")))


def load(folder: str, name: str) -> ModuleType:
    """The module of a choice. Raises ValueError if there is no such choice."""
    known = names(folder)
    if name not in known:
        raise ValueError(f"'{name}' is not one of {', '.join(known)}; choose one of them")
    return importlib.import_module(f"{folder}.{name.replace('-', '_')}")
