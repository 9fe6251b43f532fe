"""What the operator did since the node started, for its words: files and errors (operator-ha.md 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, field, frozen

from anylog.disk.names import FileName
from anylog.processes.whole import Outcome


@frozen(kw_only=True)
class FileResult:
    """What came of one file, a line of `get file log`."""

    at: float  # unix seconds
    name: str
    dbms: str
    table: str
    kind: str  # "json", "sql"
    what: str  # "Loaded", "Repeated", "Failed"
    code: int = 0
    text: str = ""
    rows: int = 0
    parked: int = 0

    @property
    def line(self) -> str:
        """As one text."""
        if self.what == "Failed":
            return f"{self.name}: error {self.code}, {self.text}"
        parked = f", {self.parked} parked" if self.parked else ""
        return f"{self.name}: {self.rows} rows{parked}{f', {self.text}' if self.text else ''}"

    def values(self) -> dict[str, Any]:
        """What JSON shows beside the columns of every log."""
        return {
            "File": self.name,
            "DBMS": self.dbms,
            "Table": self.table,
            "Code": self.code,
            "Result": self.text or "Success",
            "Rows": self.rows,
            "Parked": self.parked,
        }


def result_of(at: float, shown: str, name: FileName | None, what: str, outcome: Outcome) -> FileResult:
    """The line of a file that is called `shown`; without a name that can be read the end of that says its kind."""
    kind = "sql" if shown.removesuffix(".gz").endswith(".sql") else "json"
    return FileResult(
        at=at,
        name=shown,
        dbms=name.dbms if name is not None else "",
        table=name.table if name is not None else "",
        kind=name.kind if name is not None else kind,
        what=what,
        code=outcome.code,
        text=outcome.text,
        rows=outcome.rows,
        parked=outcome.parked,
    )


@define
class FileCount:
    """Files of one table and kind."""

    files: int = 0
    repeated: int = 0
    rows: int = 0
    first: float = 0.0
    last: float = 0.0


@define
class Failures:
    """Files of one kind that failed, and the last of them."""

    count: int = 0
    at: float = 0.0
    dbms: str = ""
    table: str = ""
    code: int = 0
    text: str = ""


@define
class Seen:
    """Numbers of the operator. They outlive the process, as `exit operator` and `run operator` may follow each other.

    `at`, `rows` and `errors` are what `get operator summary` told last; the next one tells what is new.
    """

    at: float = 0.0
    rows: int = 0
    errors: int = 0
    files: dict[tuple[str, str, str], FileCount] = field(factory=dict)  # by dbms, table, kind
    failures: dict[str, Failures] = field(factory=dict)  # by kind
    trace: int = 0  # `trace level = n run operator`
    _forgotten: dict[str, Mapping[Any, Mapping[str, float]]] = field(factory=dict)  # by topic: numbers at its reset

    def add(self, result: FileResult) -> None:
        """Count what came of a file."""
        if result.what == "Failed":
            failures = self.failures.setdefault(result.kind, Failures())
            failures.count += 1
            failures.at, failures.dbms, failures.table = result.at, result.dbms, result.table
            failures.code, failures.text = result.code, result.text
            return
        count = self.files.setdefault((result.dbms, result.table, result.kind), FileCount())
        count.last = result.at
        count.first = count.first or result.at
        if result.what == "Repeated":
            count.repeated += 1
            return
        count.files += 1
        count.rows += result.rows

    @property
    def failed(self) -> int:
        """Files that failed."""
        return sum(failures.count for failures in self.failures.values())

    def forget(self, topic: str, numbers: Mapping[Any, Mapping[str, float]]) -> None:
        """From now on `topic` is told without these numbers."""
        self._forgotten[topic] = numbers

    def since(self, topic: str, key: Any, numbers: Mapping[str, float]) -> dict[str, float]:
        """`numbers` without what was there when `topic` was reset."""
        before = self._forgotten.get(topic, {}).get(key, {})
        return {name: number - before.get(name, 0) for name, number in numbers.items()}
