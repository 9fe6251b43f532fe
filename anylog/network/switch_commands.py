"""Words by which older scripts switch security off: accepted, as nothing is on yet (security.md 2, 20)."""

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
    guarded = True

    async def run(self, node: Node, context: Context, operands: Sequence[str], **options: Any) -> Result | None:
        """Raises AnyLogError 2 for another word, 237 for `on`."""
        word = operands[0].lower()
        if word not in ("on", "off"):
            raise AnyLogError(2, f"{self.words}: '{operands[0]}' is neither on nor off")
        if word == "on":
            raise AnyLogError(237, f"not in this build: {self.words} on (authentication)")
        node.logs.event.add("Event", f"{self.words} off: commands of others that change this node stay refused", "node")
        return None


class SetAuthentication(_Switch):
    """Check who sends messages and who calls by HTTP: `off` is accepted, `on` is not in this build.

    Commands of other machines that would change this node are refused, also after `off`; what they send, ask and
    look at is served.
    """

    words = "set authentication"
    examples = ("set authentication off",)


class SetNodeAuthentication(_Switch):
    """Check the signatures of other nodes: `off` is accepted, `on` is not in this build."""

    words = "set node authentication"
    examples = ("set node authentication off",)


class SetUserAuthentication(_Switch):
    """Ask those who call by HTTP for name and password: `off` is accepted, `on` is not in this build."""

    words = "set user authentication"
    examples = ("set user authentication off",)


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
        text = (
            "Node authentication: OFF, User authentication: OFF; "
            "commands of other machines that change this node are refused"
        )
        data = {"node": "OFF", "user": "OFF", "guarded commands from elsewhere": "refused"}
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
