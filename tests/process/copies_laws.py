"""What holds of the members of a cluster after they were fed through whatever trouble, and those who feed them."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import files_laws
from files_load import SENDERS, WAYS, Sender, Streamer, stopped

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
from network import Network
from node import NodeProcess

FOLDERS = ("watch", "distr")


def sending(network: Network, seed: int) -> list[Sender]:
    """Every way in at every operator; each reading has a name of its own."""
    senders = []
    for place, node in enumerate(network.operators):
        for kind, way in enumerate(WAYS):
            sender = SENDERS[way](node, 10 * place + kind, seed)  # type: ignore[arg-type]
            sender.pause = 0.05
            senders.append(sender)
    for sender in senders:
        sender.start()
    return senders


def check(network: Network, senders: Sequence[Sender], seconds: float = 150.0) -> None:
    """Once the members have come to rest they hold the same, all that was acknowledged of it, and nothing twice."""
    problems = [sender.problem for sender in senders if sender.problem]
    assert not problems, problems
    acknowledged = set().union(*(sender.acknowledged for sender in senders))
    sent = set().union(*(sender.sent for sender in senders))
    begin, reasons = time.monotonic(), dict[str, float]()
    while told := unequal(network.operators, acknowledged):
        reasons[re.sub(r"\d+ |, such as.*", "", told)] = round(time.monotonic() - begin, 1)
        assert time.monotonic() < begin + seconds, f"not equal after {seconds:g} seconds: {told}\n{told_by(network)}"
        time.sleep(0.5)
    print(f"equal after {time.monotonic() - begin:.1f} s; until then, with the second each was seen last: {reasons}")
    for node in network.operators:
        found = files_laws.names(node.home)
        twice = [name for name, times in found.items() if times > 1]
        assert not twice, f"{node.home.name}: {len(twice)} readings are there twice, such as {twice[:3]}"
        assert not set(found) - sent, f"{node.home.name}: readings that nobody sent: {sorted(set(found) - sent)[:3]}"
        aside = Counter(files_laws.parked(node.home))
        # A file that is cut from a stream is made without them: they stay with the member that took them.
        misfits = {name for each in senders if not isinstance(each, Streamer) for name in each.misfits}
        misfits |= {name for each in senders if each.node.home == node.home for name in each.misfits}
        odd = sorted(name for name in misfits if aside[name] != 1)
        assert not odd, f"{node.home.name}: {len(odd)} misfits are not parked once, such as {odd[0]}: {aside[odd[0]]}"
    assert len(acknowledged) > 50, "too little was sent, the test means little"


def unequal(nodes: Sequence[NodeProcess], acknowledged: set[str]) -> str:
    """What is missing somewhere, or still on its way; empty if all hold the same."""
    for node in nodes:
        rest = files_laws.at_rest(node.home)
        if rest:
            return f"{node.home.name}: {rest}"
        lying = [path.name for folder in FOLDERS for path in node.folder(folder).rglob("*") if path.is_file()]
        if lying:
            return f"{node.home.name}: {len(lying)} files, such as {lying[0]}"
    held = [files_laws.names(node.home) for node in nodes]
    for node, found in zip(nodes, held, strict=True):
        lost = acknowledged - set(found)
        if lost:
            return f"{node.home.name}: {len(lost)} acknowledged readings are missing, such as {min(lost)}"
        if found != held[0]:
            return f"{node.home.name} differs from {nodes[0].home.name} in {len((found - held[0]) + (held[0] - found))}"
    return ""


def told_by(network: Network) -> str:
    """The end of each log."""
    parts = []
    for node in network.operators:
        lines = node.log.read_text().splitlines() if node.log.exists() else []
        parts += [f"--- {node.home.name}", *[line for line in lines[-300:] if "#info" not in line][-12:]]
    return "\n".join(parts)


@contextmanager
def fed(network: Network, seed: int) -> Iterator[list[Sender]]:
    """All members are under load; the senders have stopped afterwards."""
    with stopped(sending(network, seed), 30) as senders:
        yield senders
