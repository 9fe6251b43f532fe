"""Words by which older scripts switch security off (security.md 2, 20); on is not in this build."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anylog.errors import AnyLogError
from anylog.language.command import Command, Format
from anylog.language.context import Context, Result

if TYPE_CHECKING:
    from anylog.node import Node


class _Switch(Command):
    """On or off."""

    operands = "on|off"
    least = most = 1
    index = ("authentication", "not in this build")
    guarded = here = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for another word, 237 for `on`."""
        word = operands[0].lower()
        if word not in ("on", "off"):
            raise AnyLogError(2, f"{self.words}: '{operands[0]}' is neither on nor off")
        if word == "on":
            raise AnyLogError(237, f"not in this build: {self.words} on (authentication)")
        self.off(node)
        return None

    def off(self, node: Node) -> None:
        """Do it."""


class SetAuthentication(_Switch):
    """Check who sends messages and who calls by HTTP: `on` is not in this build.

    Until something is said, commands that change this node are served to this machine alone. After `off` all who reach
    it may give them, but for those that run programs, move its directories, or read and write outside of them.
    """

    words = "set authentication"
    examples = ("set authentication off",)

    def off(self, node: Node) -> None:
        """For nodes and users."""
        node.access.nodes_off = node.access.users_off = True
        told(node, self.words, "other nodes and users of REST on other machines")


class SetNodeAuthentication(_Switch):
    """Check the signatures of other nodes: `on` is not in this build, after `off` they may change this node."""

    words = "set node authentication"
    examples = ("set node authentication off",)

    def off(self, node: Node) -> None:
        """For nodes."""
        node.access.nodes_off = True
        told(node, self.words, "other nodes")


class SetUserAuthentication(_Switch):
    """Ask who calls by HTTP for name and password: `on` is not in this build, after `off` all may change this node."""

    words = "set user authentication"
    examples = ("set user authentication off",)

    def off(self, node: Node) -> None:
        """For users of REST."""
        node.access.users_off = True
        told(node, self.words, "users of REST on other machines")


def told(node: Node, words: str, who: str) -> None:
    """Say in the log what that means."""
    node.logs.event.add("Event", f"{words} off: {who} are not asked who they are, and may change this node", "node")


class SetEncryption(_Switch):
    """Encrypt what goes to other nodes: `off` is accepted, `on` is not in this build."""

    words = "set encryption"
    examples = ("set encryption off",)


class GetAuthentication(Command):
    """Show who is checked."""

    words = "get authentication"
    where = {"format": Format}
    examples = ("get authentication",)
    index = ("authentication",)
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        sides = {"Node": node.access.nodes_off, "User": node.access.users_off}
        states = {side: "OFF" if off else "not configured" for side, off in sides.items()}
        text = ", ".join(f"{side} authentication: {state}" for side, state in states.items())
        refused = [who for who, off in (("nodes", sides["Node"]), ("users", sides["User"])) if not off]
        if refused:
            text += f"; commands of {' and '.join(refused)} elsewhere that change this node are refused"
        data = {**{side.lower(): state for side, state in states.items()}, "refused": refused}
        return Result(text=text, data=data, format=options["format"] or "text")


class GetEncryption(Command):
    """Show whether what goes to other nodes is encrypted."""

    words = "get encryption"
    where = {"format": Format}
    examples = ("get encryption",)
    index = ("authentication",)
    http = ("GET",)

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        return Result(text="Encryption: OFF", data={"encryption": "OFF"}, format=options["format"] or "text")


COMMANDS: tuple[type[Command], ...] = (
    SetAuthentication,
    SetNodeAuthentication,
    SetUserAuthentication,
    SetEncryption,
    GetAuthentication,
    GetEncryption,
)
