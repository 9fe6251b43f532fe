"""AnyLog: an edge data network on Twisted."""

__version__ = "0.1.0"
