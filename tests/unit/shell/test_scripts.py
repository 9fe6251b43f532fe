"""The scripts under etc/ do what they say, the first time and every time after: played without a network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from anylog.language.command import Command
from anylog.language.context import Context, Result
from anylog.language.dictionary import Dictionary, Scope
from anylog.language.interpreter import Interpreter
from anylog.language.logs import Logs
from anylog.language.script import Script
from anylog.language.where import replaced
from anylog.language.words import Words
from anylog.node import ALL_COMMANDS

ETC = Path(__file__).resolve().parents[3] / "etc"
SCRIPTS = sorted(ETC.glob("*.al"))
TOLD = (
    "connect dbms", "create table", "run tcp server", "run rest server", "run streamer", "run blockchain sync",
    "create policy", "blockchain insert", "blockchain get", "run operator", "set node name",
)  # fmt: skip


class Played:
    """An interpreter of all commands, of which none does anything but remember that it was asked."""

    def __init__(self, inserted: set[str], **keys: str) -> None:
        """`inserted` are the types of the policies that the ledger has."""
        self.inserted, self.proposed = inserted, ""
        self.asked: list[tuple[str, str]] = []  # words, and everything that was said after them
        self.dictionary = Dictionary()
        for key, value in {"ip": "10.0.0.5", "external_ip": "8.8.4.4", **keys}.items():
            self.dictionary.set(key, value)
        clock = Clock()
        self.interpreter = Interpreter(
            words=Words([self.quiet(command) for command in ALL_COMMANDS]),
            dictionary=self.dictionary,
            environ={},
            clock=clock,
            node=None,
            logs=Logs(clock),
            read_file=self.read_file,
        )

    def quiet(self, command: type[Command]) -> type[Command]:
        """The command with everything it declares, and nothing to do."""

        async def run(
            _: Command, node: object, context: Context, operands: Sequence[str], **options: Any
        ) -> Result | None:
            told = {key: value for key, value in options.items() if value not in (None, [], "")}
            said = " ".join(operands)
            if command.words == "create policy":  # it reads its line itself
                said = replaced(said, Scope(self.dictionary, {}))
            return self.answer(command.words, f"{said} {told}")

        if command.__module__.startswith("anylog.language"):  # goto and its like work
            return command
        return type(command.__name__, (command,), {"run": run, "__doc__": command.__doc__})

    def answer(self, words: str, told: str) -> Result | None:
        self.asked.append((words, told))
        kind = next(iter(re.findall(r"\b(cluster|operator|master|query)\b", told)), "")
        match words:
            case "get hostname":
                return Result(text="here")
            case "create policy":
                self.proposed = kind
                return Result(text=f'{{"{kind}":{{}}}}')
            case "blockchain insert":
                self.inserted.add(self.proposed)
            case "blockchain get" if kind in self.inserted:
                return Result(text=f"id-of-{kind}")
        return None

    async def read_file(self, name: str, folder: str, local: bool) -> tuple[str, str]:
        return name, (ETC / name).read_text()

    def run(self, name: str) -> list[str]:
        """The words of what the script asked for, those that matter."""
        self.asked.clear()

        async def process() -> None:
            await self.interpreter.process(name, (), Context(origin="start"))

        outcome: list[Any] = []
        Deferred.fromCoroutine(process()).addBoth(outcome.append)
        assert outcome == [None], (name, outcome)
        return [words for words, _ in self.asked if words in TOLD]

    def said(self, words: str, part: str = "") -> str:
        """What was said with these words."""
        return next(told for asked, told in self.asked if asked == words and part in told)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_structure(path: Path) -> None:
    """Blocks are closed, labels are there once and have their marks, and every jump has its label."""
    script = Script.read(path.name, path.read_text())
    assert not script.warnings
    jumps = {found for line in script.lines for found in re.findall(r"\bgoto (\S+)", line.text)}
    assert jumps == script.labels.keys()


LEDGER = ["blockchain get", "create policy", "blockchain insert"]
FLOWS: dict[str, tuple[list[str], list[str]]] = {  # what is asked the first time, and on the same home again
    "master.al": (
        ["set node name", "connect dbms", "create table", "run tcp server", "run blockchain sync", *LEDGER,
         "run rest server"],
        ["set node name", "connect dbms", "create table", "run tcp server", "run blockchain sync", "blockchain get",
         "run rest server"],
    ),
    "operator.al": (
        ["set node name", "run tcp server", "run blockchain sync", *LEDGER, "blockchain get", *LEDGER,
         "blockchain get", "connect dbms", "create table", "connect dbms", "run streamer", "run operator",
         "run rest server"],
        ["set node name", "run tcp server", "run blockchain sync", "blockchain get", "blockchain get", "connect dbms",
         "create table", "connect dbms", "run streamer", "run operator", "run rest server"],
    ),
    "query.al": (
        ["set node name", "connect dbms", "run tcp server", "run blockchain sync", *LEDGER, "run rest server"],
        ["set node name", "connect dbms", "run tcp server", "run blockchain sync", "blockchain get",
         "run rest server"],
    ),
    "all-in-one.al": (
        ["set node name", "connect dbms", "create table", "connect dbms", "connect dbms", "create table",
         "connect dbms", "run tcp server", "run blockchain sync", *LEDGER, "blockchain get", *LEDGER,
         "blockchain get", "run streamer", "run operator", "run rest server"],
        ["set node name", "connect dbms", "create table", "connect dbms", "connect dbms", "create table",
         "connect dbms", "run tcp server", "run blockchain sync", "blockchain get", "blockchain get", "run streamer",
         "run operator", "run rest server"],
    ),
}  # fmt: skip

NETWORK = {"run tcp server", "run blockchain sync", "create policy", "blockchain insert", "blockchain get"}
needs_network = pytest.mark.skipif(
    not {command.words for command in ALL_COMMANDS} >= NETWORK, reason="the commands of a network are not registered"
)


@needs_network
@pytest.mark.parametrize("name", FLOWS)
def test_flow(name: str) -> None:
    """Every line is understood; the second time no policy is made."""
    first, again = FLOWS[name]
    ledger: set[str] = set()
    assert Played(ledger).run(name) == first
    assert Played(ledger).run(name) == again


@needs_network
def test_operator_values() -> None:
    """Defaults are made of the name of the machine and the company; what was said before holds; bound is bound."""
    played = Played(set())
    played.run("operator.al")
    assert played.dictionary.get("node_name") == "here-operator"
    assert played.dictionary.get("cluster_name") == "new_company-cluster-here"
    assert played.dictionary.get("ledger_conn") == "10.0.0.5:32048"
    assert "id-of-operator" in played.said("run operator")
    assert "new_company" in played.said("connect dbms", "new_company")
    policy = played.said("create policy", "operator")
    assert "8.8.4.4" in policy and "local_ip" in policy and "id-of-cluster" in policy
    played = Played(set(), tcp_bind="true", ledger_conn="10.0.0.7:9", company_name="My Company", default_dbms="town")
    played.run("operator.al")
    policy = played.said("create policy", "operator")
    assert "10.0.0.5" in policy and "local_ip" not in policy and "My Company" in policy
    assert "10.0.0.7:9" in played.said("run blockchain sync")
    assert "10.0.0.5" in played.said("blockchain get", "operator")
    assert played.said("connect dbms", "town")
