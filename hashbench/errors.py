"""What can go wrong, and the exit code each kind ends with. Every message is one line a user can act on."""

from __future__ import annotations


class HashbenchError(Exception):
    """Base of all errors that are told to the user without a traceback."""

    exit_code = 1


class UsageError(HashbenchError, ValueError):
    """A flag, a name or a value that cannot be understood."""

    exit_code = 2


class DataError(HashbenchError):
    """Data or weights that are missing, damaged or not what was promised."""

    exit_code = 3


class NoRoom(DataError):
    """A record cannot be written: no other run's could be either, so that all of them stop."""


class Diverged(HashbenchError):
    """Training left the finite numbers."""

    exit_code = 4


class Incompatible(HashbenchError):
    """This method cannot run on this data, bit width or device; the run is *skipped* with the reason."""

    exit_code = 5


CELLS_FAILED = 5
"""Exit code when some of several runs did not end as done."""
