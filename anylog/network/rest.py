"""The REST server: HTTP for everybody outside the network. It says nothing of its own (style.md 5, rest.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from klein import Klein
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from anylog.errors import AnyLogError
from anylog.interfaces import Clock, IIntake
from anylog.language.command import Call
from anylog.language.context import Context, Result
from anylog.network import replies
from anylog.network.asking import Asked, Lookup, check_method, decode_value, foreign, loopback, read_request
from anylog.network.calls import CallCounts
from anylog.network.channel import Limits, Request, Site, address_text
from anylog.network.ingest import Ingest
from anylog.network.stream import send
from anylog.process import DOORS, Process
from anylog.waiting import deadline
