"""What members of a cluster deliver to each other is listened to (operator-ha.md I-8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from twisted.python.failure import Failure

from anylog.disk.names import FileName
from anylog.errors import AnyLogError
from anylog.node import Node
from anylog.processes.courier import BUSY


def hear(
    node: Node, life: int, pushed: Counter[tuple[str, int, str, str]], members: Mapping[str, str], broken: list[str]
) -> None:
    """I-8: what is delivered to a node is of the one that delivers it, by its host (`members`), else that is `broken`.

    How often the node delivers a file in this life is counted in `pushed`: by name, life, address, file.
    """
    courier: Any = node.copying.courier
    ask = courier._ask

    def asked(address: str, kind: str, head: Any, body: bytes, **options: Any) -> Any:
        def told(answer: Any) -> Any:
            # One that had no room took nothing, and is asked again.
            why = answer.value if isinstance(answer, Failure) else None
            if not (isinstance(why, AnyLogError) and why.number == BUSY):
                pushed.update((node.name, life, address, name) for name, _ in head["files"])
            return answer

        return ask(address, kind, head, body, **options).addBoth(told)

    courier._ask = asked
    deliver: Any = node.peers._handlers.get("deliver")
    if deliver is None:
        return

    def heard(head: Any, body: bytes, asker: Any) -> Any:
        for name, _ in head.get("files", ()):
            owner = FileName.parse(name).member
            if members.get(asker.host, owner) != owner:
                broken.append(f"I-8 {asker.host}: {name} is pushed to {node.name}")
        return deliver(head, body, asker)

    node.peers.serve("deliver", heard)
