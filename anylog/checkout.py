"""Which commit a directory is checked out at, read from the files of git alone: no program is run."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from pathlib import Path

from anylog.errors import AnyLogError

LARGEST = 1 << 20  # bytes of a file of git that is read
_HEX = set("0123456789abcdef")


def checked_out(path: str = "") -> dict[str, str]:
    """Commit, Branch (empty if none), Time (UTC) and Subject of the checkout that a directory is in; empty text: ours.

    Time and Subject are empty for a commit that git has packed away. In a lane. Raises AnyLogError 12 if there is none.
    """
    start = Path(path).expanduser() if path else Path(__file__).parent
    try:
        folder = _folder(start.resolve())
        common = folder / _read(folder / "commondir") if (folder / "commondir").exists() else folder
        head = _read(folder / "HEAD")
        name = head.removeprefix("ref: ") if head.startswith("ref: ") else ""
        commit = _commit(folder, common, name) if name else head
    except (OSError, ValueError) as why:
        raise AnyLogError(12, f"no checkout of git: '{start}': {getattr(why, 'strerror', None) or why}") from None
    if not commit or set(commit) - _HEX:
        raise AnyLogError(12, f"no checkout of git: '{start}' has no commit")
    time, subject = _told(common, commit)
    return {"Commit": commit, "Branch": name.removeprefix("refs/heads/"), "Time": time, "Subject": subject}


def _folder(start: Path) -> Path:
    for place in (start, *start.parents):
        found = place / ".git"
        if found.is_dir():
            return found
        if found.is_file():  # of a worktree, or a module of another checkout
            return (place / _read(found).removeprefix("gitdir: ")).resolve()
    raise ValueError("neither it nor a directory above has a .git")


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(LARGEST).decode("utf-8", "replace").strip()


def _commit(folder: Path, common: Path, name: str) -> str:
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise ValueError("its HEAD names no branch")
    for place in (folder, common):
        if (place / name).is_file():
            return _read(place / name)
    if (common / "packed-refs").is_file():
        for line in _read(common / "packed-refs").splitlines():
            commit, _, packed = line.partition(" ")
            if packed == name:
                return commit
    return ""


def _told(common: Path, commit: str) -> tuple[str, str]:
    """Time and subject, if the commit lies by itself."""
    path = common / "objects" / commit[:2] / commit[2:]
    try:
        with path.open("rb") as file:
            text = zlib.decompressobj().decompress(file.read(LARGEST), LARGEST).decode("utf-8", "replace")
    except (OSError, zlib.error):
        return "", ""
    lines = text.partition("\0")[2].split("\n")
    subject = lines[lines.index("") + 1] if "" in lines[:-1] else ""
    for line in lines:
        if line.startswith("committer "):
            seconds = line.split()[-2]
            if seconds.isdigit():
                return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S"), subject
    return "", subject
