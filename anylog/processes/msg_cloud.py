"""`run msg client` with a broker of a cloud: which of its options belong together (ingest.md 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anylog.errors import AnyLogError

OPTIONS = ("project_id", "location", "private_key")


def check_cloud(words: str, options: Mapping[str, Any], outside: bool) -> None:
    """Of `project_id`, `location` and `private_key` what belongs together. Raises AnyLogError 2 or 40."""
    said = [name for name in OPTIONS if options[name]]
    if not said:
        return
    if not outside:
        raise AnyLogError(40, f"{words}: '{said[0]}' has a meaning with a broker elsewhere alone")
    for name in ("project_id", "private_key"):
        if not options[name]:
            raise AnyLogError(2, f"{words}: '{said[0]}' is given without '{name}'")
    if options["password"] != "unused":
        raise AnyLogError(40, f"{words}: both 'password' and 'private_key', of which the password would be made")
    if options["location"] and not options["client_id"]:
        raise AnyLogError(
            2, f"{words}: 'location' is given without 'client_id', such as registries/plant/devices/edge1"
        )
