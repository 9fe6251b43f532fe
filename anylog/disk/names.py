from __future__ import annotations

import re

from attrs import evolve, frozen

from anylog.errors import AnyLogError


@frozen(kw_only=True)
class FileName:
    dbms: str
    table: str
    source: str = "0"
    hash: str = "0"
    instructions: str = "0"
    member: str = ""
    id: int = 0
    date: str = ""
    kind: str = "json"
    compressed: bool = False

    @classmethod
    def parse(cls, name: str) -> FileName:
        match = re.fullmatch(r"(.*)\.(json|sql)(\.gz)?", name)
        if not match:
            raise AnyLogError(119, name)
        parts = match.group(1).split(".")
        if len(parts) not in (2, 3, 4, 5, 8):
            raise AnyLogError(119, name)
        keys = ("dbms", "table", "source", "hash", "instructions", "member", "id", "date")
        given = dict(zip(keys, parts))
        if "id" in given:
            given["id"] = int(given["id"])
        return cls(**given, kind=match.group(2), compressed=bool(match.group(3)))

    def __str__(self) -> str:
        parts = [self.dbms, self.table, self.source, self.hash, self.instructions]
        if self.member:
            parts += [self.member, str(self.id), self.date]
        return ".".join([*parts, self.kind]) + (".gz" if self.compressed else "")

    def having(self, **changes):
        return evolve(self, **changes)


def error_name(name, code, unix, taken):
    stem, _, kind = name.rpartition(".")
    return f"{stem}.err_{code}.{int(unix)}.{kind}"
