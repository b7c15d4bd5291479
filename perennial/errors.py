"""Every error that Perennial raises on purpose; the tree, and what the command line makes of it.

```text
PerennialError
├── SpecError        a model spec is wrong; fix the file                          exit 2
├── DataError        a source, definition or dataset is wrong; fix the data       exit 2
├── NotFoundError    no such model, version, run or file                          exit 4
├── UnexpectedError  nobody foresaw it: a bug, or a fault of the data             exit 70
└── PlatformError    a registry, store or cluster failed; may be tried again      exit 75
    └── FencedError  another process took over the work: this one must stop       exit 75
```

A message says where, what was found and what is allowed. Foreign exceptions are translated in the one module that
imports the library, with `raise … from error`; `perennial.outages` lists which of them say that a platform failed. Every other
one is an `UnexpectedError`. A failed gate or a drifted window is a result, never one of these.
"""


class PerennialError(Exception):
    """The base of every error raised on purpose. `exit_code` is what the command line returns for it."""

    exit_code = 1


class SpecError(PerennialError):
    """A model spec is wrong: the file must be changed, trying again is useless."""

    exit_code = 2


class DataError(PerennialError):
    """A source, a feature definition or a dataset is wrong: the data must be changed, trying again is useless."""

    exit_code = 2


class NotFoundError(PerennialError):
    """What was asked for by name does not exist."""

    exit_code = 4


class UnexpectedError(PerennialError):
    """An exception that nobody foresaw: a bug, or a fault of the data; trying again is useless."""

    exit_code = 70


class PlatformError(PerennialError):
    """A registry, store, ledger or cluster failed or is locked: the same call may work later."""

    exit_code = 75


class FencedError(PlatformError):
    """The claim or lease under which this process acts was taken by another one since: nothing of it may be written any more."""


GATES_NOT_PASSED = 3
"""Exit code of a run that ended with a result other than a registered version: not an error."""
