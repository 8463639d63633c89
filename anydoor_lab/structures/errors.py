"""Errors about what a user gave: one sentence with what was seen, what was expected, what to do.

Commands show the sentence alone and end with 2; any other error is a fault of the program and keeps
its traceback.
"""

from __future__ import annotations


class AnyDoorError(Exception):
    """The kind of all errors that a user can mend."""


class InputError(AnyDoorError, ValueError):
    """A value that is not possible."""


class NotRunError(InputError):
    """An optional part whose package or weights are not here; the message says what is missing.

    Beside others it stands as "not run: <message>".
    """


class InputTypeError(AnyDoorError, TypeError):
    """A thing of a kind that is not possible."""


class RunError(AnyDoorError, RuntimeError):
    """What cannot go on: calls in the wrong order, numbers that are not finite."""


class FileError(AnyDoorError, OSError):
    """A file that cannot be written."""
