"""When a buffer is due: by volume and by time, for a table, a database or the node (ingest.md 8.2)."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field, frozen

from anylog.errors import AnyLogError


@frozen
class Threshold:
    """Limits of one buffer: seconds since its first row, bytes of its rows, and whether rows are loaded at once."""

    time: float = 60.0
    volume: int = 10 * 1024
    write_immediate: bool = True


@define
class Thresholds:
    """The limits of a node. A table's own win over its database's, and these over the node's."""

    _set: dict[tuple[str, str], Threshold] = field(factory=dict)

    @property
    def default(self) -> Threshold:
        """What holds where nothing was set."""
        return self._set.get(("", ""), Threshold())

    def of(self, dbms: str, table: str) -> Threshold:
        """The limits for a buffer of this table that begins now."""
        for key in ((dbms, table), (dbms, "")):
            if key in self._set:
                return self._set[key]
        return self.default

    def set(
        self,
        dbms: str = "",
        table: str = "",
        *,
        time: float | None = None,
        volume: int | None = None,
        write_immediate: bool | None = None,
    ) -> None:
        """Set the limits; those not given take the default, not the value before. Zero for both time and volume
        removes the entry. Raises AnyLogError 2."""
        if table and not dbms:
            raise AnyLogError(2, f"set buffer threshold: table '{table}' is given without dbms_name")
        if time is None and volume is None and write_immediate is None:
            raise AnyLogError(2, "set buffer threshold: Missing 'time', 'volume' or 'write_immediate'")
        if time == 0 and volume == 0:
            self._set.pop((dbms, table), None)
            return
        default = Threshold()
        self._set[dbms, table] = Threshold(
            default.time if time is None else time,
            default.volume if volume is None else volume,
            default.write_immediate if write_immediate is None else write_immediate,
        )

    def __iter__(self) -> Iterator[tuple[tuple[str, str], Threshold]]:
        return iter(sorted(self._set.items()))
