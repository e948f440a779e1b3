"""The invoke namespaces: thin. A task reads the words, calls, prints, and leaves with the outcome's exit code.

`from infra.tasks import namespace` is all that a repository's tasks.py has to say. Of the namespaces those are loaded
that the command line names, or all where it names none: half of a second of a short command is what others import.
"""

import sys
from importlib import import_module

from invoke.collection import Collection

# invoke tells Python to keep no bytecode, whatever a person wants: every start would compile all of this again.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)

_ALL = ("ci", "dev", "images", "infra", "suite")
_NAMED = {word.partition(".")[0] for word in sys.argv[1:]} & set(_ALL)

namespace = Collection(*(import_module(f"infra.tasks.{name}").namespace for name in _ALL if name in (_NAMED or _ALL)))
