"""What would quietly break fifty nodes in one process, or a replay by seed, is not used (architecture.md 4)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from house import PACKAGE, name_of, sources, tree_of, uses_of

OWNERS = {"anylog/node.py", "anylog/tap.py", "anylog/cli.py", "anylog/disk/lanes.py"}
LANES = {"anylog/disk/lanes.py"}
MAKERS = {"anylog/disk/"}  # only this room makes things last

# Dotted beginning -> (why, where it is allowed). `random.Random` is a type everybody may name.
BANNED: dict[str, tuple[str, set[str]]] = {
    "twisted.internet.reactor": ("the reactor is handed in", OWNERS),
    "twisted.internet.threads": ("threads come from lanes", OWNERS),
    "twisted.internet.task.cooperate": ("leans on one cooperator for the process", OWNERS),
    "twisted.internet.task.coiterate": ("leans on one cooperator for the process", OWNERS),
    "twisted.internet.task.Cooperator": ("works behind the node's clock", OWNERS),
    "twisted.python.threadpool": ("threads come from lanes", LANES),
    "concurrent.futures": ("threads come from lanes", LANES),
    "time.time": ("time comes from a Clock", OWNERS),
    "time.time_ns": ("time comes from a Clock", OWNERS),
    "time.monotonic": ("time comes from a Clock", OWNERS),
    "time.perf_counter": ("time comes from a Clock", OWNERS),
    "time.sleep": ("nothing here may sleep", set()),
    "datetime.datetime.now": ("time comes from a Clock", OWNERS),
    "datetime.datetime.utcnow": ("time comes from a Clock", OWNERS),
    "datetime.datetime.today": ("time comes from a Clock", OWNERS),
    "datetime.date.today": ("time comes from a Clock", OWNERS),
    "random": ("chance is handed in", OWNERS | {"anylog/testing/"}),
    "os.environ": ("the environment is handed in", OWNERS),
    "os.getenv": ("the environment is handed in", OWNERS),
    "os.chdir": ("the directory belongs to the process", OWNERS),
    # Two have processes of their own.
    "signal": ("signals belong to the process", OWNERS | {"anylog/disk/batch.py", "anylog/programs.py"}),
    "os.rename": ("only disk/ makes things last", MAKERS),
    "os.replace": ("only disk/ makes things last", MAKERS),
    "os.fsync": ("only disk/ makes things last", MAKERS),
    "os.fdatasync": ("only disk/ makes things last", MAKERS),
    "shutil.move": ("only disk/ makes things last", MAKERS),
}
FREE = {"random.Random"}


def within(name: str, allowed: set[str]) -> bool:
    return any(name == place or (place.endswith("/") and name.startswith(place)) for place in allowed)


def wrong_uses(path: Path) -> list[str]:
    """What one module uses that it may not, each with its line and why."""
    name, found = name_of(path), set()
    called = {id(node.func) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)}
    made = {node.lineno for node in ast.walk(tree_of(path)) if isinstance(node, ast.Name) and id(node) in called}
    for line, used in uses_of(path):
        if used in FREE and line not in made:
            continue
        for banned, (why, allowed) in BANNED.items():
            if (used == banned or used.startswith(banned + ".")) and not within(name, allowed):
                found.add(f"{name}:{line} uses {banned}: {why}")
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            found.add(f"{name}:{node.lineno} has a bare except")
        elif isinstance(node, ast.Global):
            found.add(f"{name}:{node.lineno} has module state: global {', '.join(node.names)}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            said = [argument.value for argument in node.args[1:2] if isinstance(argument, ast.Constant)]
            said += [word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)]
            if node.func.attr == "registerProducer" and False in said:
                found.add(f"{name}:{node.lineno} has a pull producer: it leans on one cooperator for the process")
            elif node.func.attr in ("write_text", "write_bytes") and not within(name, MAKERS | {"anylog/testing/"}):
                found.add(f"{name}:{node.lineno} writes a file: only disk/ makes things last")
    return sorted(found)


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_nothing_banned(path: Path) -> None:
    """Time, chance, threads, files and the environment are given, never taken."""
    assert not wrong_uses(path)


def test_the_list_has_teeth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is imported, a banned thing is found; naming the type of chance is not taking a chance."""
    monkeypatch.setattr("house.ROOT", tmp_path)
    for text, wrong in [
        ("import time as t\nt.time()", 1),
        ("from time import time\ntime()", 1),
        ("from datetime import datetime\ndatetime.now()", 1),
        ("import datetime\ndatetime.datetime.utcnow()", 1),
        ("from datetime import datetime\ndatetime.fromtimestamp(0)", 0),
        ("import os\nos.environ['HOME']", 1),
        ("from os import path\npath.join('a')", 0),
        ("from twisted.internet import reactor\nreactor.stop()", 1),
        ("from twisted.internet.threads import deferToThread\ndeferToThread(1)", 1),
        ("from random import Random\ndef f(chance: Random): ...", 0),
        ("from random import Random\nRandom(1)", 1),
        ("import random\nrandom.choice([1])", 1),
        ("try:\n    pass\nexcept:\n    pass", 1),
        ("def f():\n    global x\n    x = 1", 1),
        ("request.registerProducer(self, False)", 1),
        ("request.registerProducer(self, streaming=False)", 1),
        ("request.registerProducer(self, True)", 0),
        ("path.write_text('x')", 1),
    ]:
        path = tmp_path / PACKAGE.name / "x.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        tree_of.cache_clear()
        assert len(wrong_uses(path)) == wrong, (text, wrong_uses(path))
