"""How answers and errors look on a terminal (cli-console.md 3). Pure: text in, text out."""

from __future__ import annotations

import json
import re
import textwrap

from anylog.prompt.door import Refused

BOX = 250  # characters of one line in an error box
RED, PLAIN = "\x1b[31m", "\x1b[0m"

_KEY = re.compile(r"[!$][^\s=]+")
_JSON_PART = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+')
# What would move the cursor or speak to the terminal is shown, not sent: rows may hold what strangers wrote.
_SHOWN = {code: f"^{chr(code ^ 64)}" for code in range(32) if code not in (9, 10)}
_SHOWN |= {127: "^?"} | {code: f"\\x{code:02x}" for code in range(128, 160)}


def harmless(text: str) -> str:
    """Text that can be written to a terminal; line ends become `\\n`."""
    return text.replace("\r\n", "\n").translate(_SHOWN)


def laid_out(command: str, text: str, width: int) -> str:
    """A whole answer: an empty line before it, one line end after it, JSON that needs more than a line indented."""
    text = text.replace("\r\n", "\n")
    if not text.strip():
        return ""
    if _KEY.fullmatch(command):
        text = text.rstrip("\n")
        return f"{text}\n" if text[0] in "{[\"'" else f"'{text}'\n"
    if text[0] in "{[" and "\n" not in text.rstrip("\n") and len(text) > width:
        text = indented(text)
    return ("" if text.startswith("\n") else "\n") + text + ("" if text.endswith("\n") else "\n")


def indented(text: str) -> str:
    """JSON with a line for each member; numbers and strings stay as they are written. What is no JSON stays too."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    out: list[str] = []
    depth = 0
    parts = _JSON_PART.findall(text)
    for place, part in enumerate(parts):
        if part in ("{", "["):
            if parts[place + 1] in ("}", "]"):
                out.append(part)
            else:
                depth += 1
                out.append(f"{part}\n{'  ' * depth}")
        elif part in ("}", "]"):
            if parts[place - 1] in ("{", "["):
                out.append(part)
            else:
                depth -= 1
                out.append(f"\n{'  ' * depth}{part}")
        elif part == ",":
            out.append(f",\n{'  ' * depth}")
        else:
            out.append(": " if part == ":" else part)
    return "".join(out)


def box(refused: Refused) -> str:
    """An error: what was wrong in a box, then the general text."""
    lines = [
        part
        for line in (refused.detail or refused.general).splitlines() or [""]
        for part in (textwrap.wrap(line, BOX) or [""])
    ]
    width = max(map(len, lines))
    ruler = f"|{'=' * width}|"
    text = "\n".join([ruler, *(f"|{line.ljust(width)}|" for line in lines), ruler, refused.general]) + "\n"
    return harmless(text)


def rows_of(text: str, width: int) -> int:
    """Rows of the screen that a text takes."""
    return sum(max(1, -(-len(line) // max(width, 1))) for line in text.split("\n"))
