"""Nodes that are deployed from environment variables, in a network that lives in memory."""

from __future__ import annotations

from pathlib import Path

from attrs import define, field

from anylog.errors import AnyLogError
from anylog.language.context import Context
from anylog.node import Node
from anylog.testing.world import World

SCRIPTS = Path(__file__).parents[2] / "etc" / "deploy"
FOLDER = "/deploy"
MASTER = "10.0.0.1:32048"


@define
class Deployed:
    """Nodes by name; `told` is what each printed."""

    world: World
    told: dict[str, list[str]] = field(factory=dict)

    def add(self, name: str, host: str, **variables: str) -> Node:
        """A node at an address of its own that was deployed. Raises AnyLogError."""
        return self.deploy(self.bare(name, host), **variables)

    def bare(self, name: str, host: str) -> Node:
        """A node that has the scripts and has not run them; its databases last."""
        node = self.world.add(name, host, lasting=True)
        node.disk.make(Path(FOLDER))
        for path in SCRIPTS.glob("*.al"):
            node.disk.publish(Path(FOLDER) / path.name, path.read_bytes())
        return node

    def deploy(self, node: Node, **variables: str) -> Node:
        """The variables are those of the node from now on, over restarts, too. Raises AnyLogError."""
        wanted = {"LEDGER_CONN": MASTER, "COMPANY_NAME": "My Company", "NODE_NAME": node.name, **variables}
        node.environ.clear()
        node.environ.update(wanted)
        place = self.world.places[node.name]
        place.script = [*(f'${key} = "{value}"' for key, value in wanted.items()), f"process {FOLDER}/main.al"]
        self.again(node)
        return node

    def again(self, node: Node) -> None:
        """Run the script in the node that runs. Raises AnyLogError."""
        told = self.told[node.name] = []
        asked = node.execute(f"process {FOLDER}/main.al", Context(origin="start", who="start", write=told.append))
        self.world.wait(asked, 200)

    def restart(self, *names: str) -> None:
        """Stop and start nodes on the homes that they have."""
        self.world.stop(names)
        for name in names:
            self.world.wait(self.world.restart(name), 200)

    def refused(self, node: Node, **variables: str) -> str:
        """Why it does not start."""
        try:
            self.deploy(node, **variables)
        except AnyLogError as error:
            return str(error)
        raise AssertionError("it was deployed")

    def left_out(self, name: str) -> list[str]:
        """What was said of parts that are not in this build."""
        return [line for line in self.told[name] if "not in this build" in line]

    def running(self, name: str) -> set[str]:
        """Names of processes."""
        return {process.name for process in self.world.nodes[name].processes.running()}

    def policies(self, name: str, *types: str) -> dict[str, str]:
        """Id -> text of all policies but those of tables, as a node has them."""
        return {
            policy.id: str(sorted({**policy.body, "ledger": ""}.items()))
            for policy in self.world.nodes[name].ledger.policies
            if not types or policy.type in types
        }
