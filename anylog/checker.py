"""`anylog check`: reads scripts and says what is wrong with them, without running anything."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from attrs import define, field

from anylog.language.check import Finding, Place, Report, check_script
from anylog.language.command import Command
from anylog.language.words import Words

LARGEST = 4 << 20  # bytes of a script
MOST = 10_000  # scripts
ENDS = (".al",)  # of the names of scripts in a directory
# Keys that a node has from its start, or that whoever deploys it is expected to give it (language.md 3).
PRESET = frozenset({
    "ip", "external_ip", "is_vm", "dns", "external_dns", "hostname", "node_name", "anylog_path",
    "anylog_server_port", "anylog_rest_port", "anylog_broker_port", "io_buff_size", "blockchain_dir",
    "blockchain_file", "blockchain_new", "blockchain_sql", "id_dir", "watch_dir", "bwatch_dir", "prep_dir",
    "blobs_dir", "err_dir", "error_dir", "pem_dir", "bkup_dir", "distr_dir", "test_dir", "archive_dir", "dbms_dir",
    "tmp_dir", "local_scripts", "scripts_dir",
})  # fmt: skip


@define
class Checker:
    """Looks at scripts and those that they run."""

    words: Words
    brings: Callable[[type[Command]], str]
    reports: dict[Path, Report] = field(factory=dict)
    _roots: list[Path] = field(factory=list)  # where scripts are looked for by their names
    _names: dict[str, list[Path]] | None = None

    def check(self, paths: Iterable[str]) -> list[Finding]:
        """Everything that was found, by file and line. Raises OSError for what was named and cannot be read."""
        waiting: list[Path] = []
        for name in paths:
            path = Path(name)
            if path.is_dir():
                self._roots.append(path)
                waiting += sorted(each for each in path.rglob("*") if each.suffix in ENDS and each.is_file())
            else:
                self._roots.append(path.parent)
                path.stat()
                waiting.append(path)
        called: set[Path] = set()
        for path in waiting:  # which grows
            real = Path(os.path.realpath(path))
            if real in called:
                continue
            called.add(real)
            if len(called) > MOST:
                report = self.reports[path] = Report(str(path))
                report.add(Place(1, 1), "file", f"more than {MOST:,} scripts: the others are not looked at")
                break
            waiting += self._look(path)
        self._never_set()
        return sorted(finding for report in self.reports.values() for finding in report.findings)

    def _look(self, path: Path) -> list[Path]:
        """One script; gives those that it runs."""
        report = self.reports[path] = self._read(path)
        found = []
        for name, place in report.calls:
            target = self._script(name, path)
            if target is not None:
                found.append(target)
            elif not _open(name):
                report.add(place, "script", f"the script '{name}' cannot be found from here", "warning")
        report.findings.sort()
        return found

    def _read(self, path: Path) -> Report:
        shown = str(path)
        report, size = Report(shown), path.stat().st_size
        if not path.is_file():
            report.add(Place(1, 1), "file", "this is no regular file")  # reading it might never end
            return report
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            report.add(Place(1, 1), "file", f"{max(size, len(data)):,} bytes, a script may have {LARGEST:,}")
        elif b"\0" in data[:4096]:
            report.add(Place(1, 1), "file", "this is not a text")
        else:
            try:
                text = data.decode("utf-8-sig")
            except UnicodeDecodeError as odd:
                line = data[: odd.start].count(b"\n") + 1
                column = odd.start - (data.rfind(b"\n", 0, odd.start) + 1) + 1
                report.add(Place(line, column), "file", f"this is not UTF-8: byte {data[odd.start]:#04x}")
            else:
                if path.suffix.lower() == ".json":
                    return self._json(shown, text)
                return check_script(shown, text, self.words, self.brings)
        return report

    def _json(self, shown: str, text: str) -> Report:
        """A script as JSON: the commands of its sections; all stand at the begin of the file."""
        report = Report(shown)
        try:
            sections = json.loads(text)["config"]
            for section in sections:
                report.made.update(section.get("setting") or {})
            lines = [str(command) for section in sections for command in section.get("commands") or ()]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as odd:
            report.add(Place(1, 1), "structure", f"a script as JSON has a list of sections named 'config': {odd}")
            return report
        inner = check_script(shown, "\n".join(lines), self.words, self.brings)
        for finding in inner.findings:
            command = lines[finding.line - 1] if finding.line <= len(lines) else ""
            report.add(Place(1, 1), finding.kind, f"'{command}': {finding.text}", finding.severity)
        report.made |= inner.made
        report.asked |= inner.asked
        report.used |= {key: Place(1, 1) for key in inner.used}
        report.calls += [(name, Place(1, 1)) for name, _ in inner.calls]
        return report

    def _script(self, name: str, caller: Path) -> Path | None:
        """The file that `process` names: what stands for a directory is one of those that were given, or below."""
        known = re.sub(r"^[!$][A-Za-z_][\w\-]*[/\\]?", "", name)
        if not known or re.search(r"[!$]", known):
            return None
        for root in (Path(), caller.parent, *self._roots):
            if _is_file(root / known):
                return root / known
        if self._names is None:
            self._names = {}
            for root in self._roots:
                # What goes while it is looked at is not there: below a directory of the system that is nothing odd.
                for each in sorted(Path(top, name) for top, _, names in os.walk(root) for name in names):
                    if each.suffix in (*ENDS, ".json") and _is_file(each):
                        self._names.setdefault(each.name, []).append(each)
        parts = Path(known).parts
        for each in self._names.get(Path(known).name, ()):
            if each.parts[-len(parts) :] == parts:
                return each
        return None

    def _never_set(self) -> None:
        """A key may be assigned by another script, or by whoever starts the node: it is a warning."""
        made = PRESET.union(*(report.made | report.asked for report in self.reports.values()))
        for report in self.reports.values():
            for key, place in report.used.items():
                if key not in made:
                    report.add(place, "never-set", f"'!{key}' is never set in these scripts", "warning")


def _is_file(path: Path) -> bool:
    """Whether there is a regular file; no name is so odd that this fails."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _open(name: str) -> bool:
    """Which script is run hangs on a key."""
    return re.fullmatch(r"[!$][\w.\-]+", name) is not None or len(re.findall(r"[!$]", name)) > 1


def shown(findings: Sequence[Finding], reports: dict[Path, Report]) -> str:
    """As text: a line for each finding, and a summary with counts."""
    lines = [str(finding) for finding in findings]
    errors = sum(finding.severity == "error" for finding in findings)
    lines.append(
        f"{_count(len(reports), 'script')}: {_count(errors, 'error')}, {_count(len(findings) - errors, 'warning')}"
    )
    missing: dict[str, set[str]] = {}
    for report in reports.values():
        for brings, uses in report.missing.items():
            missing.setdefault(brings, set()).update(words for words, _ in uses)
    lines += [f"not in this build, {what}: {', '.join(sorted(words))}" for what, words in sorted(missing.items())]
    return os.linesep.join(lines) + os.linesep


def as_json(findings: Sequence[Finding], reports: dict[Path, Report]) -> str:
    """The same for programs."""
    errors = sum(finding.severity == "error" for finding in findings)
    return json.dumps(
        {
            "scripts": [report.path for report in reports.values()],
            "errors": errors,
            "warnings": len(findings) - errors,
            "findings": [
                {
                    "file": each.path,
                    "line": each.line,
                    "column": each.column,
                    "severity": each.severity,
                    "kind": each.kind,
                    "text": each.text,
                }
                for each in findings
            ],
        },
        indent=2,
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
