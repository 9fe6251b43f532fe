"""What others may do here: nodes, and those who ask by REST from other machines (security.md 2, 8)."""

from __future__ import annotations

from attrs import define

from anylog.language.context import Context


@define(eq=False)
class Access:
    """One a node. What changes the node is served to this machine alone, until this machine says `set ... off`.

    From then on the others are believed, but for what only this machine may do (`Command.here`) and for pages of other
    sites in somebody's browser.
    """

    nodes_off: bool = False  # `set node authentication off`: commands of other nodes
    users_off: bool = False  # `set user authentication off`: commands that come by REST

    @property
    def off(self) -> bool:
        """Whether other nodes may change this one."""
        return self.nodes_off

    def allows(self, context: Context) -> bool:
        """Whether who asks may run what changes the node."""
        if context.local:
            return True
        return not context.page and (self.users_off if context.origin == "rest" else self.nodes_off)
