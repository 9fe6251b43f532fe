"""Bytes, and who may speak when: pure, without sockets, clocks or files."""
