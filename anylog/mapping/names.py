"""Names as this room says them; the spelling itself is of the whole house, see `anylog.names`."""

from __future__ import annotations

from anylog.names import LONGEST, column, normalise

__all__ = ["LONGEST", "column", "normalise"]
