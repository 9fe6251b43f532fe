"""Plug-ins are found by file and by entry point, the broken ones are named, and the manual's example works."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

import anylog.plugins as plugins
from anylog.errors import AnyLogError
from anylog.interfaces import Readings
from anylog.language.command import Command
from anylog.language.interpreter import collected
from anylog.southbound.commands import commands, intake_of
from anylog.testing.world import World

SCRIPT = ("connect dbms plant where type = sqlite", "run streamer")
ROOT = Path(__file__).resolve().parents[3]
GOOD = """
from twisted.plugin import IPlugin
from zope.interface import implementer
from anylog.interfaces import ISouthbound

@implementer(IPlugin, ISouthbound)
class Plugin:
    name, words, help, example, where = "{name}", "run {name} thing", "Do it.", "run {name} thing", {{}}

    def make(self, intake, *, net, clock, lanes, chance, running, **options):
        return None

found = Plugin()
"""


def example() -> str:
    """The program in the manual."""
    text = (ROOT / "docs" / "southbound.rst").read_text().split(".. code-block:: python\n")[1]
    lines = text.split("\n``accept``")[0]
    return textwrap.dedent(lines).strip() + "\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is one more place for plug-in files; what was loaded from it is forgotten afterwards."""
    folder = tmp_path / "anylog" / "plugins"
    folder.mkdir(parents=True)
    monkeypatch.setattr(plugins, "__path__", [*plugins.__path__, str(folder)])
    known = set(sys.modules)
    importlib.invalidate_caches()
    yield folder
    for name in set(sys.modules) - known:
        if name.startswith("anylog.plugins."):
            del sys.modules[name]
    plugins._found.cache_clear()


def test_ours() -> None:
    """Kafka and syslog come by the same door, and each has a command with help, usage and an example that parses."""
    found = plugins.find()
    assert {"kafka", "syslog"} <= set(found.plugins) and not found.broken
    made = {command.words: command for command in commands(found.plugins.values())}
    for words in ("run kafka consumer", "run syslog server"):
        command: type[Command] = made[words]
        assert command.explanation().split("\n\n")[0].endswith(".")
        assert command.usage_text().startswith(words) and command.guarded


def test_files(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are broken are named and left out, and so are two of one name; the others are there."""
    (site / "fine.py").write_text(GOOD.format(name="fine"))
    (site / "broken.py").write_text("raise RuntimeError('no such device')\n")
    (site / "lacking.py").write_text(GOOD.format(name="lacking").replace("def make", "def build"))
    (site / "twice_a.py").write_text(GOOD.format(name="twice"))
    (site / "twice_b.py").write_text(GOOD.format(name="twice"))
    (site / "taken.py").write_text(GOOD.format(name="rest"))
    found = plugins.find()
    assert {"fine", "kafka", "syslog"} <= set(found.plugins) and not {"lacking", "twice"} & set(found.plugins)
    told = " ".join([*found.broken, *found.broken.values()])
    for word in ("broken.py", "no such device", "lacking", "make", "two plug-ins have the name 'twice'"):
        assert word in told, (word, found.broken)
    words = [command.words for command in commands(found.plugins.values())]
    assert "run fine thing" in words and "run rest thing" not in words


def test_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """What packages bring: one that is none of ours is passed over, one that cannot be loaded is named."""

    class Point:
        def __init__(self, name: str, thing: Any) -> None:
            self.name, self.value, self._thing = name, f"module:{name}", thing

        def load(self) -> Any:
            if isinstance(self._thing, Exception):
                raise self._thing
            return self._thing

    space: dict[str, Any] = {}
    exec(compile(GOOD.format(name="brought"), "brought", "exec"), space)
    points = [Point("brought", space["found"]), Point("other", object()), Point("gone", ImportError("no such module"))]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == "anylog.plugins" else [])
    plugins._found.cache_clear()
    try:
        found = plugins.find()
    finally:
        plugins._found.cache_clear()
    assert "brought" in found.plugins
    assert list(found.broken) == ["gone (module:gone)"] and "no such module" in found.broken["gone (module:gone)"]


class Talk(Protocol):
    """Remembers what it is told."""

    heard = b""

    def dataReceived(self, data: bytes) -> None:
        self.heard += data


def answer(world: World, asked: str) -> str:
    """What a question gives, as soon as its table is there."""
    for _ in range(50):
        world.advance(0.5)
        try:
            result = world.run(world.nodes["edge"], asked)
        except AnyLogError as missing:
            told = str(missing)
            continue
        if result.pages is not None:
            return str(world.wait(Deferred.fromCoroutine(collected(result.pages))))
        return str(result.text)
    raise AssertionError(told)


def test_the_example_of_the_manual(site: Path) -> None:
    """It is found, has a command, and answers when the rows are safe: they are there after a power cut."""
    assert len(example().splitlines()) < 60
    (site / "oven.py").write_text(example())
    world = World(1)
    script = (
        "connect dbms plant where type = sqlite",
        "run streamer",
        "run oven server where port = 7001 and dbms = plant",
    )
    try:
        node = world.add("edge", "10.0.0.1", script=script, lasting=True)
        assert "oven" in str(world.run(node, "get southbound").data)
        line = world.wait(world.network.net("10.0.0.2").connect("tcp:10.0.0.1:7001", Factory.forProtocol(Talk)))
        line.transport.write(b"left 217.5\nright 180\n")
        world.until(lambda: line.heard.count(b"\n") == 2)
        assert line.heard == b"ok\nok\n"
        world.crash("edge", power=True)
        world.wait(world.restart("edge"))
        node = world.nodes["edge"]
        asked = "sql plant format = json and stat = false select oven, value from ovens order by value"

        assert "left" in answer(world, asked) and "right" in answer(world, asked)
        assert node.processes.find("oven") is not None
        world.run(node, "exit oven")
        assert node.processes.find("oven") is None
    finally:
        world.end()


def test_batches_of_a_stranger() -> None:
    """Names are spelled as everywhere, a key is taken once, and what is no JSON is refused by name."""
    world = World(2)
    try:
        node = world.add("edge", "10.0.0.1", script=SCRIPT, lasting=True)
        intake = intake_of(node, "oven", None)  # type: ignore[arg-type]
        batch = Readings(dbms="Plant", table="My Ovens", rows=[{"v": 1}, {"v": 2}], key="7")
        assert world.wait(intake.accept(batch)) == 2
        assert world.wait(intake.accept(batch)) == 0
        other = Readings(dbms="plant", table="my_ovens", rows=[{"v": 3}], key="7")
        assert world.wait(intake.accept(other)) == 1
        assert intake.refusal() is None and len(intake.node) == 16
        for wrong, number in (
            (Readings(dbms="plant", table="t", rows=[]), 6),
            (Readings(dbms="plant", table="t", rows=[{"v": object()}]), 6),
            (Readings(dbms="plant", table="t", rows=[7]), 6),  # type: ignore[list-item]
            (Readings(dbms="nosuch", table="t", rows=[{"v": 1}]), 5),
            (Readings(dbms="plant", table="anylog_t", rows=[{"v": 1}]), 28),
            (Readings(dbms="plant", table="", rows=[{"v": 1}]), 40),
            (Readings(dbms="plant", table="t", rows=[{"v": 1}], key="x" * 201), 40),
        ):
            found: list[Any] = []
            intake.accept(wrong).addBoth(found.append)
            world.until(lambda found=found: bool(found))
            assert getattr(found[0].value, "number", 0) == number, (wrong, found)
    finally:
        world.end()
