"""Bar tables byte for byte as known clients parse them (monitoring.md 1)."""

from __future__ import annotations

from anylog.language.tables import bar_table

# As a node of the older edition wrote them.
CONNECTIONS = (
    "Type      External Address Internal Address Bind Address    \r\n"
    "---------|----------------|----------------|---------------|\r\n"
    "TCP      |127.0.0.1:32148 |127.0.0.1:32148 |127.0.0.1:32148|\r\n"
    "REST     |127.0.0.1:32149 |127.0.0.1:32149 |127.0.0.1:32149|\r\n"
    "Messaging|127.0.0.1:32150 |127.0.0.1:32150 |127.0.0.1:32150|"
)
CALLS = (
    "Statistics for REST calls using http://127.0.0.1:32149\r\n"
    "Caller Call Processed Errors Last Error              \r\n"
    "------|----|---------|------|-----------------------|\r\n"
    "anylog|PUT |     3680|     0|                       |\r\n"
    "      |GET |       19|     2|Error Command Structure|"
)
COUNTS = (
    "DBMS Name Table Name     Rows Count \r\n"
    "---------|--------------|----------|\r\n"
    "almgm    |tsd_info      |      2723|\r\n"
    "bench    |readings      |         5|\r\n"
    "         |rest_189988364|       500|"
)
PROCESSES = (
    "    Process Status       Details                                         \r\n"
    "    -------|------------|-----------------------------------------------|\r\n"
    "    TCP    |Running     |Listening on: 127.0.0.1:32148, Threads Pool: 6 |\r\n"
    "    MCP    |Not declared|                                               |"
)


def test_tables() -> None:
    """Titles padded, a bar after each cell, numbers right, text left: byte for byte."""
    both = [
        (name, *[f"127.0.0.1:{port}"] * 3) for name, port in (("TCP", 32148), ("REST", 32149), ("Messaging", 32150))
    ]
    titles = ("Type", "External Address", "Internal Address", "Bind Address")
    assert bar_table(titles, both) == CONNECTIONS
    calls = [("anylog", "PUT", 3680, 0, ""), ("", "GET", 19, 2, "Error Command Structure")]
    heading = "Statistics for REST calls using http://127.0.0.1:32149"
    assert bar_table(("Caller", "Call", "Processed", "Errors", "Last Error"), calls, heading=heading) == CALLS
    counts = [("almgm", "tsd_info", 2723), ("bench", "readings", 5), ("", "rest_189988364", 500)]
    assert bar_table(("DBMS Name", "Table Name", "Rows Count"), counts) == COUNTS
    details = "Listening on: 127.0.0.1:32148, Threads Pool: 6 "
    processes = [("TCP", "Running", details), ("MCP", "Not declared", "")]
    assert bar_table(("Process", "Status", "Details"), processes, indent=4) == PROCESSES
