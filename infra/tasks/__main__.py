"""`python -m infra.tasks`: the tasks that a suite calls in the middle of a test, without what they do not need.

It is what `INFRA_INVOKE` runs, in the folder that has the settings; a folder that has no tasks.py has these, too.
"""

from invoke.collection import Collection
from invoke.program import Program

from infra.tasks import components

if __name__ == "__main__":
    Program(namespace=Collection(infra=Collection(*components.TASKS))).run()
