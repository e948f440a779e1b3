"""The invoke namespaces: thin. A task reads the words, calls, prints, and leaves with the outcome's exit code.

`from infra.tasks import namespace` is all that a repository's tasks.py has to say. A task imports what it calls when it
is called: a second of a short command would be what the others import.
"""

import atexit
import gc
import sys
from importlib import import_module

from invoke.collection import Collection

# invoke tells Python to keep no bytecode, whatever a person wants: every start would compile all of this again.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)

# What is imported stays: to look for garbage among it takes a tenth of a short command.
gc.set_threshold(200_000)
# Nor at the end, where Python looks again and again and takes all of it apart: 0.2 s, and the process is about to go.
atexit.register(gc.freeze)

_NAMES = ("ci", "dev", "images", "infra", "suite")

namespace = Collection(*(import_module(f"infra.tasks.{name}").namespace for name in _NAMES))
