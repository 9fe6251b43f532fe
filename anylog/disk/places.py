"""The directories of one home, and the dictionary keys they are known by (language.md 3, ingest.md 1.1)."""

from __future__ import annotations

from pathlib import Path

from attrs import define

from anylog.errors import AnyLogError
from anylog.interfaces import Disk

_FOLDERS: dict[str, str] = {
    "blockchain_dir": "blockchain",
    "id_dir": "anylog",
    "watch_dir": "data/watch",
    "bwatch_dir": "data/bwatch",
    "prep_dir": "data/prep",
    "blobs_dir": "data/blobs",
    "err_dir": "data/error",
    "pem_dir": "data/pem",
    "bkup_dir": "data/bkup",
    "distr_dir": "data/distr",
    "archive_dir": "data/archive",
    "test_dir": "data/test",
    "dbms_dir": "data/dbms",
    "tmp_dir": "data/tmp",
    "local_scripts": "local_scripts",
    "scripts_dir": "scripts",
}
_FILES: dict[str, str] = {
    "blockchain_file": "blockchain/blockchain.json",
    "blockchain_new": "blockchain/blockchain.new",
    "blockchain_sql": "blockchain/blockchain.sql",
}
_ALIASES = {"error_dir": "err_dir"}


@define
class Places:
    """Every path of a node comes from here.

    `home` is where `--home` or `set anylog home` points; the work directories lie under `AnyLog-Network` in it. The
    journal, what the message broker and clients of other brokers keep, and the home's own id lie beside them and do not
    move with `set anylog home`: they belong to the node.
    """

    home: Path
    root: Path

    @classmethod
    def under(cls, home: Path) -> Places:
        """The places of the home `home` (made absolute)."""
        home = home.absolute()
        return cls(home, home / "AnyLog-Network")

    @property
    def journal(self) -> Path:
        """Where readings are kept until they are in their tables."""
        return self.home / "journal"

    @property
    def broker(self) -> Path:
        """Where the message broker keeps sessions, retained messages and what is on its way."""
        return self.home / "broker"

    @property
    def outside(self) -> Path:
        """Where clients of brokers elsewhere keep what they must know of their sessions."""
        return self.home / "outside"

    def folder(self, key: str) -> Path:
        """The directory a dictionary key such as `watch_dir` stands for; AnyLogError 33 for an unknown key."""
        name = _FOLDERS.get(_ALIASES.get(key, key))
        if name is None:
            raise AnyLogError(33, f"no directory is known as '{key}'")
        return self.root / name

    def keys(self) -> dict[str, str]:
        """Dictionary key -> path, for all directories and the files of the ledger."""
        known = {**_FOLDERS, **_FILES, **{alias: _FOLDERS[key] for alias, key in _ALIASES.items()}}
        return {"anylog_path": str(self.home), **{key: str(self.root / name) for key, name in known.items()}}

    def move_to(self, home: Path) -> None:
        """`set anylog home`: the work directories are under another home from now on."""
        self.root = home.absolute() / "AnyLog-Network"

    def make_all(self, disk: Disk) -> None:
        """Make the missing directories; blocking. Raises OSError."""
        disk.make(self.journal)
        for name in _FOLDERS.values():
            disk.make(self.root / name)
