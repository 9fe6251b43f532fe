"""How whole files are named, and what may be a part of a file's name (ingest.md 9)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from anylog.mapping.body import content_hash, normal_form

_SEGMENT = re.compile(r"[A-Za-z0-9_\-]{1,64}")


@frozen
class Form:
    """A whole file as it is named and kept."""

    hash: str
    normal: bytes


NONE = Form("", b"")


def form_of(dbms: str, table: str, rows: Sequence[Mapping[str, Any]]) -> Form:
    """The normal form of rows and its hash."""
    normal = normal_form(rows)
    return Form(content_hash(dbms, table, normal), normal)


def segment(text: str) -> str:
    """A data source or a policy id as it can be part of a file name: without dots, no longer than 64 characters."""
    if _SEGMENT.fullmatch(text):
        return text
    spelled = "".join(char if _SEGMENT.fullmatch(char) else "_" for char in text)
    return spelled[:64] or "0"
