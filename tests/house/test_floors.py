"""Who may know whom: lower floors never look up (architecture.md 3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from house import PACKAGE, ROOT, imports_of, module_of, name_of, sources

FLOORS: dict[str, int] = {
    **dict.fromkeys(["columns", "errors", "interfaces", "counts", "names", "pages", "waiting", "wire", "language"], 0),
    "environment": 0,
    **dict.fromkeys(["disk", "process", "tank", "plugins", "net", "clock", "jobs", "programs", "host", "checkout"], 1),
    "access": 1,
    **dict.fromkeys(["databases", "ledger"], 2),
    **dict.fromkeys(["mapping", "query", "authentication"], 3),
    **dict.fromkeys(["processes", "network"], 4),
    **dict.fromkeys(
        [
            "node",
            "tap",
            "cli",
            "commands",
            "host_commands",
            "config_commands",
            "checker",
            "copying",
            "membership",
            "prompt",
            "southbound",
        ],
        5,
    ),
    "testing": 6,
}
ALONE = {"databases", "ledger", "mapping", "query", "authentication", "processes", "network"}  # not their neighbours
PURE = {"columns", "environment", "errors", "interfaces", "counts", "names", "pages", "waiting", "wire", "language"}
PURE_TWISTED = ("twisted.internet.defer", "twisted.logger", "twisted.python.failure")
PURE_OTHERS = {"attr", "attrs", "zope", "msgpack", "lz4", "orjson", "twisted", "anylog", "__future__"}
IMPURE = {"asyncio", "multiprocessing", "random", "shutil", "socket", "subprocess", "tempfile", "threading", "time"}
# The Node itself is known by name to what is handed one: for type checking alone.
NODE_KNOWERS = ("commands.py", "language/")


def room_of(module: str) -> str:
    """`anylog.disk.lanes` is in room `disk`; the package itself in room ``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def wrong_steps(path: Path) -> list[str]:
    """The imports of one module that are not allowed, each with its line and why."""
    room = room_of(module_of(path))
    found: list[str] = []
    for line, target, typing_only in imports_of(path):
        top = target.split(".")[0]
        if top == "anylog":
            other = room_of(target)
            if other not in FLOORS or other == room:
                continue  # the package itself, as in `from anylog import __version__`
            if typing_only and other == "node" and any(knower in name_of(path) for knower in NODE_KNOWERS):
                continue
            if FLOORS[other] > FLOORS[room]:
                found.append(f"{name_of(path)}:{line} looks up to {target}")
            elif room in ALONE and other in ALONE and FLOORS[other] == FLOORS[room]:
                found.append(f"{name_of(path)}:{line} knows its neighbour {target}")
        elif room in PURE and (top in IMPURE or (top == "twisted" and not target.startswith(PURE_TWISTED))):
            found.append(f"{name_of(path)}:{line} is pure and may not know {target}")
    return found


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_no_step_upward(path: Path) -> None:
    """A module imports from its own floor's room and from lower floors only."""
    assert not wrong_steps(path)


def test_every_room_has_a_floor() -> None:
    """A new room is entered into the table before it is used."""
    rooms = {room_of(module_of(path)) for path in sources()} - {"", "__init__"}
    assert not rooms - FLOORS.keys()


def test_every_folder_is_a_package() -> None:
    """A folder without `__init__.py` would be missed by the installation."""
    folders = {path.parent for path in sources()}
    assert not [name_of(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()]
    assert all((parent / "__init__.py").exists() for folder in folders for parent in [folder.parent] if parent != ROOT)


def test_no_package_under_twisted() -> None:
    """An `__init__.py` there would make the plugin vanish without a word."""
    assert not list((ROOT / "twisted").rglob("__init__.py"))
    assert (ROOT / "twisted" / "plugins" / "anylog_plugin.py").exists()


def test_the_table_has_teeth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step upward, a neighbour, an impure import and a lazy import inside a function are all found."""
    monkeypatch.setattr("house.ROOT", tmp_path)
    for room, text, wrong in [
        ("mapping", "from anylog.node import Node", 1),
        ("mapping", "def later():\n    from anylog.query import plan", 1),
        ("language", "import time", 1),
        ("language", "from twisted.internet import reactor", 1),
        ("language", "from twisted.internet.defer import Deferred", 0),
        ("databases", "from anylog.disk.lanes import Lane\nfrom ..process import Process", 0),
        ("disk", "from ..databases import catalog", 1),
    ]:
        path = tmp_path / PACKAGE.name / room / "commands_like.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        from house import tree_of

        tree_of.cache_clear()
        assert len(wrong_steps(path)) == wrong, (room, text)
