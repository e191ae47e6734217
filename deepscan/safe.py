"""Text of unknown origin on its way to a terminal."""

from __future__ import annotations

import unicodedata
from typing import Any

from rich.text import Text

# Control and format characters (escape sequences, bidirectional overrides), lone surrogates of file names
# that are not UTF-8, line and paragraph separators.
_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def plain(text: object) -> str:
    """One line without anything that a terminal would obey; what was unsafe is shown as an escape."""
    return "".join(
        character.encode("unicode_escape").decode("ascii") if unicodedata.category(character) in _UNSAFE else character
        for character in str(text)
    )


def words(text: object, **style: Any) -> Text:
    """The same for Rich: markup such as ``[red]`` is shown, never obeyed."""
    return Text(plain(text), **style)
