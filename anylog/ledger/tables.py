"""Tables as the ledger knows them: the columns that `table` and `column` policies give them (storage.md 2.2)."""

from __future__ import annotations

from anylog.columns import AUTOMATIC, later
from anylog.errors import AnyLogError
from anylog.ledger.policies import Policies
from anylog.ledger.types import columns_of, parse_type, widened
from anylog.names import column as column_name


def known_columns(policies: Policies, dbms: str, table: str) -> dict[str, str] | None:
    """Column -> ledger type, the automatic ones first; None if no policy of the table can be read.

    Of `column` policies that do not widen what came before them nothing is taken (hard-parts.md 4.4).
    """
    columns: dict[str, str] | None = None
    for policy in policies.of_table("table", dbms, table):
        try:
            columns = dict(AUTOMATIC) | columns_of(policy.text_of("create"))
            break
        except AnyLogError:
            continue
    if columns is None:
        return None
    for policy in policies.of_table("column", dbms, table):
        try:
            name, kind = column_name(policy.name), parse_type(policy.text_of("type"))
        except AnyLogError:
            continue
        if name not in AUTOMATIC:
            columns[name] = widened(columns[name], kind) or columns[name] if name in columns else later(kind)
    return columns
