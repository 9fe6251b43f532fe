"""Words about blockchain platforms, which are not in this build: the ledger is at a master (metadata.md 8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError
from anylog.language.command import Command, Format
from anylog.language.context import Context, Result
from anylog.language.tables import bar_table, framed

if TYPE_CHECKING:
    from anylog.node import Node

NONE = "No connections to blockchain platforms"


class GetPlatforms(Command):
    """Show the connections to blockchain platforms, and the master that has the ledger.

    Blockchain platforms are not in this build, so there is none: the ledger is at a master.
    """

    words = "get platforms"
    where = {"format": Format}
    examples = ("get platforms", "get platforms where format = json")
    index = ("blockchain", "monitor")
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """The first line is what clients know as the answer of a node without platforms."""
        titles = ("Name", "Active", "Balance", "URL", "Public Key/Contract")
        data: list[dict[str, Any]] = []
        process: Any = node.processes.find("synchronizer")
        if process is not None:
            active = not process.looks.failure
            data.append(
                dict(zip(titles, ("master", active, "", process.options.connection or node.address, ""), strict=True))
            )
        elif node.master is not None:
            data.append(dict(zip(titles, ("master", True, "", node.address, ""), strict=True)))
        if options["format"] == "json":
            return Result(data=data, format="json")
        if not data:
            return Result(text=NONE, data=data)
        table = bar_table(titles, [list(row.values()) for row in data])
        return Result(text=f"{NONE}\r\n{framed(table)}", data=data, format="table")


class _Platform(Command):
    """Known by its words alone."""

    raw = literal = True
    later = "platforms"
    index = ("blockchain", "platforms")
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 237."""
        raise not_here(self.words)


def not_here(what: str) -> AnyLogError:
    """What is said of all that needs a blockchain platform."""
    return AnyLogError(237, f"not in this build: {what}: there are no blockchain platforms; use a master")


class Connect(_Platform):
    """Not in this build: connect to a blockchain platform.

    Use a master instead: 'run blockchain sync where source = master and ...'.
    """

    words = "blockchain connect to"
    operands = "[platform] where provider = [url] and contract = [address] and private_key = [key] and ..."
    examples = ("blockchain connect to optimism where provider = !provider and chain_id = 11155420",)


class CreateAccount(_Platform):
    """Not in this build: make an account at a blockchain platform."""

    words = "blockchain create account"
    operands = "[platform]"
    examples = ("blockchain create account optimism",)


class SetAccountInfo(_Platform):
    """Not in this build: say with which keys and contract a blockchain platform is used."""

    words = "blockchain set account info"
    operands = "where platform = [name] and private_key = [key] and public_key = [key] and contract = [address] and ..."
    examples = ("blockchain set account info where platform = optimism and contract = !contract",)


class DeployContract(_Platform):
    """Not in this build: put the contract that holds the ledger on a blockchain platform."""

    words = "blockchain deploy contract"
    operands = "where platform = [name] and public_key = [key]"
    examples = ("blockchain deploy contract where platform = optimism and public_key = !public_key",)


class Commit(_Platform):
    """Not in this build: put a policy on a blockchain platform.

    Use 'blockchain insert where policy = ... and master = [ip:port]' for a master, 'blockchain push' on the master.
    """

    words = "blockchain commit"
    also = ("blockchain commit to",)
    operands = "[platform] [policy or !key]"
    examples = ("blockchain commit to optimism !new_policy", "blockchain commit !new_policy")


class UpdateTo(_Platform):
    """Not in this build: put another policy in the place of one on a blockchain platform.

    Use 'blockchain replace policy [id] with [policy]' on the master.
    """

    words = "blockchain update to"
    operands = "[platform] [id] [policy or !key]"
    examples = ("blockchain update to optimism !policy_id !new_policy",)


class Checkout(_Platform):
    """Not in this build: fetch all policies from a blockchain platform.

    Use 'blockchain seed from [ip:port]' to fetch them from any node.
    """

    words = "blockchain checkout"
    also = ("blockchain checkout from",)
    operands = "[platform] [file | stdout]"
    examples = ("blockchain checkout from optimism stdout",)


class State(_Platform):
    """Not in this build: show the number that changes with the contract on a blockchain platform.

    Use 'get metadata version' for what changes with the ledger.
    """

    words = "blockchain state"
    operands = "where platform = [name]"
    examples = ("blockchain state where platform = optimism",)
    guarded = False


class SetRelay(_Platform):
    """Not in this build: let a master hand policies on to a blockchain platform."""

    words = "set relay"
    operands = "where platform = [name] and status = [on | off]"
    examples = ("set relay where platform = optimism and status = on",)


class GetRelay(_Platform):
    """Not in this build: show to which blockchain platform a master hands policies on."""

    words = "get relay"
    examples = ("get relay",)
    guarded = False


COMMANDS: tuple[type[Command], ...] = (
    GetPlatforms,
    Connect,
    CreateAccount,
    SetAccountInfo,
    DeployContract,
    Commit,
    UpdateTo,
    Checkout,
    State,
    SetRelay,
    GetRelay,
)
