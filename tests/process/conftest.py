"""Nodes of these tests begin as copies of one process that has imported all, which saves most of what a start takes.

How a node begins in an interpreter of its own is seen where nodes are demonstrated, installed and deployed.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from node import NodeProcess

NodeProcess.forked = True
