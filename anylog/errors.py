"""The one table of errors: number, text, HTTP status. Sources: language.md 12, monitoring.md 10, operator-ha.md 3."""

from __future__ import annotations

import re
from typing import Any

# number: (text, HTTP status). New numbers of ours start at 500.
ERRORS: dict[int, tuple[str, int]] = {
    0: ("Success", 200),
    1: ("Unrecognized Command", 400),
    2: ("Error Command Structure", 400),
    3: ("Error Process Failure", 500),
    5: ("Wrong DBMS Name or DBMS not connected", 400),
    6: ("Error in JSON Structure", 400),
    8: ("No reply", 504),
    9: ("Variable is not assigned", 400),
    10: ("DBMS not open", 400),
    12: ("File does not exists", 400),
    14: ("File write failed", 500),
    15: ("Network Error", 502),
    16: ("SQL Failure", 400),
    17: ("Missing metadata info on local node", 400),
    18: ("SQL stmt not supported", 400),
    20: ("IP and Port of destination servers are not properly provided", 400),
    21: ("Peer protocol error", 502),
    23: ("Job not active", 400),
    26: ("Time Out", 504),
    27: ("Failed to load a file", 400),
    28: ("Wrong table name", 400),
    29: ("No metadata info", 400),
    30: ("Failed to update the blockchain", 502),
    33: ("Missing configuration", 400),
    34: ("Python call failed", 400),
    35: ("File not transferred", 502),
    39: ("Operator node error", 502),
    40: ("Error in command parameters", 400),
    45: ("Failed to load table metadata from blockchain", 400),
    46: ("Failed to parse SQL statement", 400),
    51: ("REST call error", 502),
    55: ("Argument mismatch in a script", 400),
    56: ("Error in script without 'on error'", 400),
    58: ("No local blockchain file", 400),
    59: ("Empty local blockchain file", 400),
    60: ("Failed to execute 'bring'", 400),
    61: ("System call failed", 400),
    63: ("File read failed", 400),
    67: ("Table schema does not match the policy", 400),
    70: ("Duplicate blockchain object id", 400),
    73: ("Missing Operators for a Table", 400),
    76: ("Query processing time above limit", 504),
    77: ("Query data volume above limit", 400),
    81: ("Connection Error", 502),
    83: ("Missing DBMS name", 400),
    84: ("Input query not available", 400),
    86: ("Duplicate file", 400),
    87: ("Wrong policy structure", 400),
    88: ("Wrong username or password", 401),
    89: ("Email message failed", 502),
    95: ("Not a member of the network", 400),
    97: ("Failed to authenticate message", 401),
    99: ("Missing library", 400),
    105: ("Scheduler not active", 400),
    107: ("Partial success", 400),
    108: ("Failed to allocate resources for task", 503),
    110: ("Error in REST headers", 400),
    112: ("Missing script file", 400),
    113: ("Needed policy not available", 400),
    118: ("Wrong cluster policy", 400),
    119: ("Wrong file name", 400),
    120: ("Empty result set", 200),
    130: ("Table excluded", 400),
    132: ("Local table not declared in blockchain", 400),
    131: ("File of a node that is not a member of the cluster", 400),
    134: ("Error in SQL Select statement", 400),
    135: ("TCP server not running", 400),
    136: ("Process already active", 400),
    141: ("Unrecognized Command", 400),
    142: ("Private key not available", 400),
    145: ("Authentication failed", 401),
    149: ("None unique IP:Port in policy", 400),
    150: ("Synchronizer not running", 400),
    151: ("Policy not in local file", 400),
    152: ("No files match", 400),
    155: ("Failed to determine destination node", 400),
    156: ("Wrong HTTP method used", 400),
    161: ("Wrong output format", 400),
    162: ("Task not in scheduler", 400),
    163: ("Unknown user agent", 400),
    167: ("Missing data ingest mapping", 400),
    170: ("Missing id in policy", 400),
    171: ("Not allowed to create a table", 400),
    173: ("Timezone error", 400),
    174: ("No cluster for the table", 400),
    175: ("Wrong value assigned to a key", 400),
    178: ("SQL not executed", 400),
    180: ("Non unique policy values", 400),
    181: ("Failed to parse if condition", 400),
    182: ("Error timeout value", 400),
    184: ("Missing key in dictionary", 400),
    193: ("Wrong header structure", 400),
    194: ("Casting Failure", 400),
    195: ("Non supported casting", 400),
    203: ("Operator not available", 503),
    208: ("Network connection to peer refused", 502),
    211: ("No policies of network nodes", 400),
    212: ("Unauthorized command", 403),
    215: ("More than one policy", 400),
    220: ("Operator not accessible", 503),
    221: ("Port value is not a number", 400),
    222: ("Missing cluster policy", 400),
    224: ("Non supported remote call", 400),
    226: ("Topic not monitored", 400),
    234: ("Format not supported", 400),
    237: ("Not supported", 400),
    244: ("Error in Grafana Payload info", 400),
    247: ("Wrong policy id", 400),
    262: ("Needs to be executed locally", 400),
    301: ("Missing data on HTTP call", 400),
    302: ("String concatenation failed", 400),
    500: ("Internal error", 500),
    501: ("Body too large", 413),
    502: ("Too much is waiting, send again later", 503),
    503: ("Disk full", 507),
    504: ("Journal not available", 503),
    505: ("Request too slow", 408),
    506: ("Shutting down", 503),
    507: ("Database belongs to another node", 400),
    508: ("Operator is syncing", 503),
    509: ("Operator with the files of another cluster", 503),
}


_VALUE = re.compile(r"(?<!\w)'([^']{201,})'(?!\w)")
_SHOWN = 120  # characters of such a value


def _brief(detail: str) -> str:
    """A value that was given is repeated so that it can be recognised, and not in its whole length."""
    if len(detail) <= 200:
        return detail
    return _VALUE.sub(lambda found: f"'{found[1][:_SHOWN]}...' ({len(found[1]):,} characters)", detail)


class AnyLogError(Exception):
    """An expected refusal or failure: a number of the table and what in particular was wrong.

    `str(error)` is the detail (or the general text if there is none); `text` is the general text. Of a value in single
    quotes that is longer than 200 characters the detail has the first ones only.
    """

    def __init__(self, number: int, detail: str = "", *, http: int | None = None, node: str = "") -> None:
        """`node` is the ip:port of another node that said so, or with which it happened."""
        self.number = number
        self.node = node
        self.text, status = ERRORS[number]
        self.http = http or status
        self.detail = detail = _brief(detail)
        self.kept: Any = None  # of several replies those that came before it (a language.replies.Replies)
        super().__init__(detail or self.text)


def text_of(number: int) -> str:
    """The general text of an error number; raises `AnyLogError` 40 for one that is not in the table."""
    if number not in ERRORS:
        raise AnyLogError(40, f"no error has the number {number}")
    return ERRORS[number][0]
