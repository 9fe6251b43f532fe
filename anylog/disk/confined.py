"""Which files the commands may touch: those of the node, and what somebody of this machine has opened (security.md 8).

A path is judged where it really lies: `..` and links are followed first, so that neither leads out.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from attrs import define, field, frozen

from anylog.access import Access
from anylog.disk.places import Places
from anylog.errors import AnyLogError
from anylog.language.dictionary import Dictionary

LONGEST = 4096  # characters of a path
FOLDERS = (
    *("blockchain_dir", "watch_dir", "bwatch_dir", "prep_dir", "blobs_dir", "err_dir", "error_dir", "bkup_dir"),
    *("distr_dir", "archive_dir", "test_dir", "tmp_dir", "local_scripts", "scripts_dir"),
)
SCRIPT_FOLDERS = ("local_scripts", "scripts_dir")
SECRET_FOLDERS = ("id_dir", "pem_dir", "dbms_dir")
SECRET_TYPES = (".pem", ".key", ".p12", ".pfx", ".jks", ".dbms", ".db", ".sqlite", ".dbms-wal", ".dbms-shm")


class Use(Enum):
    """What is done with a file."""

    LOOK = "look at"  # names, sizes, hashes
    READ = "read"
    CHANGE = "change"


@frozen(kw_only=True)
class Confines:
    """Where one caller may look, read and change; a plain value, for lanes.

    `within` are the directories that are open and `without` those inside them that are not; nothing in `kept` is
    changed. `watched` are directories in which a file is found by its name, so that none may be replaced.
    """

    work: Path  # relative paths begin here
    within: tuple[Path, ...]
    without: tuple[Path, ...] = ()
    kept: tuple[Path, ...] = ()
    watched: tuple[Path, ...] = ()
    stranger: bool = False
    trusted: bool = False  # a stranger who may change files, too

    def real(self) -> Confines:
        """The same with every link followed; blocking."""
        return Confines(
            work=_real(self.work),
            within=tuple(map(_real, self.within)),
            without=tuple(map(_real, self.without)),
            kept=tuple(map(_real, self.kept)),
            watched=tuple(map(_real, self.watched)),
            stranger=self.stranger,
            trusted=self.trusted,
        )

    def existing(self, text: str, use: Use) -> Path:
        """Where the file or directory of that name really lies; blocking. Raises AnyLogError 119 or 212."""
        final = _real(self._path(text))
        self.check(final, text, use)
        return final

    def name(self, text: str, use: Use = Use.CHANGE) -> Path:
        """The name itself, in the directory where it really lies: a link is not followed. AnyLogError 119, 212."""
        path = self._path(text)
        if path.name in ("", ".", ".."):
            raise AnyLogError(119, f"'{text}' is not the name of a file")
        final = _real(path.parent) / path.name
        self.check(final, text, use)
        return final

    def check(self, final: Path, text: str, use: Use) -> None:
        """Raise AnyLogError 212 if that place may not be used so; `text` is how it was named."""
        if not any(final.is_relative_to(folder) for folder in self.within):
            hint = "" if self.stranger else "; 'set file access' opens others"
            raise AnyLogError(212, f"'{text}' leads out of the directories of this node{hint}")
        if any(final.is_relative_to(folder) for folder in self.without) or (
            self.stranger and final.name.lower().endswith(SECRET_TYPES)
        ):
            raise AnyLogError(212, f"'{text}' is a matter of this node alone")
        kept = self.stranger and not self.trusted
        if use is Use.CHANGE and (kept or any(final.is_relative_to(folder) for folder in self.kept)):
            raise AnyLogError(212, f"'{text}' is changed by the node alone")

    def is_watched(self, final: Path) -> bool:
        """Whether somebody takes files by their name from that directory."""
        return final.parent in self.watched

    def _path(self, text: str) -> Path:
        if not text.strip() or "\0" in text or len(text) > LONGEST:
            raise AnyLogError(119, f"{text[:100]!r} is no path" if text.strip() else "a path is missing")
        try:
            os.fsencode(text)
        except UnicodeEncodeError:
            raise AnyLogError(119, f"{text[:100]!r} is no text") from None
        return self.work / text


@define
class FileAccess:
    """What `set file access` said: which directories are open beside the node's own. One a node."""

    places: Places
    dictionary: Dictionary
    access: Access = field(factory=Access)
    paths: tuple[str, ...] = ()
    any: bool = False

    def confines(self, *, local: bool) -> Confines:
        """What somebody of this machine may use, or anybody else (decisions.md 10). Not blocking."""
        home = self.places.home
        own = (self.places.root, *self._folders(FOLDERS))
        secret = self._folders(SECRET_FOLDERS)
        identity = (self.places.journal, self.places.broker, home / "node.id", home / "node.lock")
        watched = self._folders(("watch_dir", "bwatch_dir"))
        if not local:
            trusted = self.access.nodes_off or self.access.users_off
            return Confines(
                work=self.places.root,
                # Who may set keys must not open the machine by one.
                within=(self.places.root,) if trusted else own,
                without=(*identity, *secret),
                kept=self._folders(SCRIPT_FOLDERS),
                watched=watched,
                stranger=True,
                trusted=trusted,
            )
        databases = () if self.any else self._folders(("dbms_dir",))
        return Confines(
            work=self.places.root,
            within=(Path("/"),) if self.any else (home, *own, *secret, *map(Path, self.paths)),
            kept=(*identity, *databases),
            watched=watched,
        )

    def _folders(self, keys: tuple[str, ...]) -> tuple[Path, ...]:
        """Where they are by default, and where a script has put them: setting a key is for this machine, too."""
        found: dict[Path, None] = {}
        for key in keys:
            found[self.places.folder(key)] = None
            told = self.dictionary.get(key)
            if isinstance(told, str) and told.startswith("/") and "\0" not in told:
                found[Path(told)] = None
        return tuple(found)


@contextmanager
def naming(path: Path | str, number: int = 63) -> Iterator[None]:
    """Turn an OSError into an AnyLogError that names the file: 12 missing, 503 disk full, 212 a link, else `number`."""
    try:
        yield
    except OSError as fault:
        why = f"{path}: {os.strerror(fault.errno) if fault.errno else fault}"
        numbers = {
            **dict.fromkeys((errno.ENOENT, errno.ENOTDIR), 12),
            **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), 503),
            errno.ELOOP: 212,
            errno.ENAMETOOLONG: 119,
            errno.EEXIST: 86,
        }
        raise AnyLogError(numbers.get(fault.errno or 0, number), why) from fault


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
