"""Errors a user can meet. Each says what was found, what was expected and what to do next.

The command line prints the message without a traceback and ends with the error's exit code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EquiposeError(Exception):
    """Base of every error that is the user's to mend."""

    exit_code = 1


class UsageError(EquiposeError, ValueError):
    """A wrong argument, setting or name."""

    exit_code = 2


class DataError(EquiposeError, ValueError):
    """A file or folder that is missing, damaged or not what it claims to be."""

    exit_code = 3


def at_least(what: str, value: int, least: int) -> None:
    """UsageError if a number on the command line is smaller than makes sense."""
    if value < least:
        raise UsageError(f"{what}: found {value}, expected {least} or more")


def unknown_name(kind: str, name: str, known: Iterable[str], see: str = "") -> UsageError:
    """A UsageError for a mistyped name, with the nearest known one.

    Args:
        kind: what the name stands for, such as ``balance strategy``.
        name: what the user typed.
        known: the names that exist.
        see: a command that lists them.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return UsageError(
        f"unknown {kind} {name!r}.{hint} Known: {', '.join(names) or 'none'}." + (f" See: {see}" if see else "")
    )
