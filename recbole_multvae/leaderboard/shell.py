"""Commands as text: readable, and bash reads from them the same words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

#: What bash does not take as it stands between double quotes.
_ACTIVE = re.compile(r'[$`\\!"]')
_OPTION = re.compile(r"(--[\w.-]+=)(.+)", re.ASCII | re.DOTALL)


def join(words: Sequence[str]) -> str:
    """A command line, as :func:`shlex.join` makes it, with ``--key="{'a': 1}"`` for its ``'--key={'"'"'a'"'"': 1}'``."""
    return " ".join(map(_quote, words))


def lines(command: str) -> str:
    """A command with a line for each option; a text that is not a command stays as it is."""
    try:
        words = shlex.split(command)
    except ValueError:  # Whoever calls run_leaderboard may name anything.
        return command
    parts: list[list[str]] = [[]]
    for word in words:
        if word.startswith("-"):
            parts.append([])
        parts[-1].append(word)
    return " \\\n  ".join(map(join, parts))


def _quote(word: str) -> str:
    found = _OPTION.fullmatch(word)
    option, value = found.groups() if found else ("", word)
    return option + (f'"{value}"' if "'" in value and not _ACTIVE.search(value) else shlex.quote(value))
