"""One spelling for the names of databases, tables and columns (ingest.md 1.3)."""

from __future__ import annotations

from anylog.errors import AnyLogError

# PostgreSQL cuts longer identifiers without an error, so two names could become one.
LONGEST = 63

_KEPT = {ord(char): char for char in "abcdefghijklmnopqrstuvwxyz0123456789"}
_SPELLING = (
    _KEPT
    | {ord(char): char.lower() for char in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
    | dict.fromkeys(map(ord, " _-./\\:"), "_")
)


def normalise(name: str, what: str = "name", number: int = 40) -> str:
    """Lower case; blank and `_ - . / \\ :` become `_`; anything else is `0x` and two hex digits a byte of its UTF-8.

    `what` ("database", "table") and the error `number` are for the refusal: raises AnyLogError for a name that is
    empty (blanks alone are empty, too) or longer than 63 bytes once it is spelled this way.
    """
    stripped = name.strip()
    if not stripped:
        raise AnyLogError(number, f"a {what} needs a name, {name!r} is none")
    spelled = stripped.translate(_SPELLING)
    if not (spelled.isascii() and spelled.replace("_", "a").isalnum()):
        spelled = "".join(char if char == "_" or ord(char) in _KEPT else _hex(char) for char in spelled)
    if len(spelled) > LONGEST:
        raise AnyLogError(number, f"the {what} {name[:80]!r} is longer than {LONGEST} bytes")
    return spelled


def column(name: str) -> str:
    """The column of a JSON attribute: its normalised name, with a leading `_` if it is digits only.

    Raises AnyLogError 40 as `normalise` does.
    """
    spelled = normalise(name, "column")
    return f"_{spelled}" if spelled.isdigit() else spelled


def _hex(char: str) -> str:
    return "".join(f"0x{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))
