"""What nodes say to each other: bytes in, events out; no sockets, no clock (style.md 1)."""
