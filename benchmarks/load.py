"""A closed loop of HTTP requests against one server, in a process of its own: how many a second, how long each took.

Each connection sends its next request when the last answer is there. Every answer is held against the score that the
row must have. The connections are kept where the server keeps them. Prints one JSON line.

    python benchmarks/load.py PORT PATH ROWS.json --concurrency 16 --seconds 5

ROWS.json: {"rows": ["1,2,3", …], "scores": [0.25, …]}
"""

from __future__ import annotations

import argparse
import gc
import json
import select
import socket
import sys
from pathlib import Path
from time import perf_counter

HOST = "127.0.0.1"
TOLERANCE = 1e-5
WARM_UP_SECONDS = 1.0


class Connection:
    """One client: a request at a time."""

    def __init__(self, port: int, requests: list[bytes], scores: list[float], start: int) -> None:
        self.latencies: list[float] = []
        self.failures: list[str] = []
        self._port = port
        self._requests, self._scores = requests, scores
        self._row = start
        self._received = b""
        self._sent = 0.0
        self.going_on = True
        self.socket = self._connect()

    def _connect(self) -> socket.socket:
        connection = socket.create_connection((HOST, self._port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def ask(self) -> None:
        """Send the next row."""
        self._row = (self._row + 1) % len(self._requests)
        self._sent = perf_counter()
        self.socket.send(self._requests[self._row])

    def hear(self) -> bool:
        """Read what is there; True when the answer was complete and the next request is on its way."""
        data = self.socket.recv(65536)
        if not data:
            self.failures.append("the connection was closed before an answer")
            self._again()
            return True
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self._received[:end].lower()
        at = head.find(b"content-length:")
        if at < 0:
            raise RuntimeError(f"no Content-Length: {head!r}")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self._received) < end + 4 + length:
            return False
        self.latencies.append(perf_counter() - self._sent)
        self._check(self._received[:end], self._received[end + 4 :])
        self._received = b""
        if b"connection: close" in head:
            self._again()
        elif self.going_on:
            self.ask()
        return True

    def _check(self, head: bytes, body: bytes) -> None:
        try:
            right = head[9:12] == b"200" and abs(float(body) - self._scores[self._row]) <= TOLERANCE
        except ValueError:
            right = False
        if not right:
            self.failures.append(f"row {self._row}: {head.split(b' ', 1)[1][:40]!r} {body[:200]!r}")

    def _again(self) -> None:
        self.socket.close()
        self.socket = self._connect()
        if self.going_on:
            self.ask()


def run(port: int, path: str, rows: Path, concurrency: int, seconds: float) -> dict[str, object]:
    """One measurement, after a warm-up; latencies in milliseconds."""
    given = json.loads(rows.read_text())
    requests = [
        (
            f"POST {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nContent-Type: text/csv\r\nAccept: text/csv\r\n"
            f"Content-Length: {len(row)}\r\n\r\n{row}"
        ).encode()
        for row in given["rows"]
    ]
    connections = [Connection(port, requests, given["scores"], 997 * number) for number in range(concurrency)]
    gc.freeze()
    gc.disable()
    _loop(connections, WARM_UP_SECONDS)
    for connection in connections:
        connection.latencies.clear()
    took = _loop(connections, seconds)
    latencies = sorted(latency for connection in connections for latency in connection.latencies)
    failures = [failure for connection in connections for failure in connection.failures]

    def at(share: float) -> float:
        return round(1000 * latencies[min(len(latencies) - 1, int(share * len(latencies)))], 4)

    return {
        "requests": len(latencies),
        "per_second": round(len(latencies) / took, 1),
        "p50_ms": at(0.5),
        "p90_ms": at(0.9),
        "p99_ms": at(0.99),
        "max_ms": at(1.0),
        "failures": len(failures),
        "first_failures": failures[:3],
    }


def _loop(connections: list[Connection], seconds: float) -> float:
    """Ask and hear until the time is over, and every answer is there; the seconds it took."""
    started = perf_counter()
    deadline = started + seconds
    for connection in connections:
        connection.going_on = True
        connection.ask()
    if len(connections) == 1:
        while perf_counter() < deadline:
            connections[0].hear()
        return _let_end(connections, started)
    poll = select.epoll()
    by_descriptor: dict[int, Connection] = {}
    for connection in connections:
        by_descriptor[connection.socket.fileno()] = connection
        poll.register(connection.socket, select.EPOLLIN)
    while perf_counter() < deadline:
        for descriptor, _ in poll.poll():
            connection = by_descriptor[descriptor]
            before = connection.socket
            connection.hear()
            if connection.socket is not before:  # made anew; closing has taken the old one out of the poll
                del by_descriptor[descriptor]
                by_descriptor[connection.socket.fileno()] = connection
                poll.register(connection.socket, select.EPOLLIN)
    poll.close()
    return _let_end(connections, started)


def _let_end(connections: list[Connection], started: float) -> float:
    """Hear the last answers; the seconds since the start."""
    took = perf_counter() - started
    for connection in connections:
        connection.going_on = False
        while not connection.hear():
            pass
    return took


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("rows", type=Path)
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    print(json.dumps(run(options.port, options.path, options.rows, options.concurrency, options.seconds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
