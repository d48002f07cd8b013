"""The connection to one model server: pipelined, so that what arrives in one turn of the loop is one write."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Protocol

from triptych.localcloud.sagemaker.router.http import Malformed, ResponseHead, parse_response
from triptych.localcloud.sagemaker.router.invocation import Invocation

_RECV_BYTES = 1 << 18
_BACKLOG_FULL_SECONDS = 0.01


class LinkOwner(Protocol):
    """What a link tells of its requests."""

    @property
    def endpoint_name(self) -> str: ...

    def answered(self, invocation: Invocation, head: ResponseHead, body: bytes) -> None:
        """The model's answer, whatever its status."""

    def lost(self, link: Link, unsent: Sequence[Invocation], orphans: Sequence[Invocation], why: str) -> None:
        """The connection ended: the server cannot have seen ``unsent``, and may have seen ``orphans``."""


class Link:
    """One model server's socket.

    ``dead``: nobody listens there any more, or only a server that does not answer; ``reported``: the gateway knows.
    A connection that a living server has closed is made anew.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, path: str, stream: str, owner: LinkOwner, invoke_seconds: float
    ) -> None:
        self.path = path
        self.stream = stream
        self.dead = False
        self.reported = False
        self.on_idle: Callable[[Link], None] | None = None
        self._loop = loop
        self.owner = owner
        self._invoke_seconds = invoke_seconds
        self._socket: socket.socket | None = None
        self._queue: list[Invocation] = []
        self._under_way: deque[Invocation] = deque()
        self._unsent: memoryview | None = None
        self._flushing = False
        self._received = bytearray()
        self._wanted = 0
        self._answered = False
        """an answer came on this connection"""
        self._was_lost = False
        """an earlier connection ended unexpectedly: the server may be dying, its socket open for a while still"""
        self._progress = 0.0
        """when the last answer came, or the first request after a rest went out"""

    @property
    def load(self) -> int:
        """Requests that wait for this server's answer."""
        return len(self._queue) + len(self._under_way)

    def send(self, invocation: Invocation) -> None:
        """Send with what else comes in this turn of the loop."""
        invocation.link = self
        invocation.sent = perf_counter()
        invocation.deadline = invocation.sent + self._invoke_seconds
        self._queue.append(invocation)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def overdue(self, now: float) -> Iterator[Invocation]:
        """Requests whose answers are late, and whose clients have not been told so yet."""
        for invocation in [*self._under_way, *self._queue]:
            if invocation.deadline > now:
                return
            if not invocation.abandoned:
                yield invocation

    def hangs_over(self, now: float) -> Invocation | None:
        """The request that the server has been asked first, where no answer at all has come for that long."""
        hangs = self._under_way and now - self._progress > self._invoke_seconds
        return self._under_way[0] if hangs else None

    def condemn(self, culprit: Invocation) -> None:
        """Give the server up: it hangs over ``culprit``, which is its caller's to answer, or over one that came
        with it."""
        self._under_way.remove(culprit)
        for invocation in self._under_way:
            invocation.suspect = True
        self._queue[:0] = self._under_way
        self._under_way.clear()
        self.dead = True
        self._end("the model server hangs")

    def close(self) -> None:
        """Nobody is to be asked here any more: the server is dead, or serves no longer."""
        self.dead = True
        self._end("the model server ended")

    # Sending

    def _flush(self) -> None:
        self._flushing = False
        if self._unsent is not None or not self._queue:
            return
        if self._socket is None and not self._connect():
            return
        batch = self._take_batch()
        if not batch:
            return
        data = batch[0].payload if len(batch) == 1 else b"".join([item.payload for item in batch])
        assert self._socket is not None
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._queue[:0] = batch
            self._end(str(error))
            return
        if not self._under_way:
            self._progress = perf_counter()
        self._under_way.extend(batch)
        if sent < len(data):
            self._unsent = memoryview(data)[sent:]
            self._loop.add_writer(self._socket, self._writable)

    def _take_batch(self) -> list[Invocation]:
        """All that waits; a suspect goes alone, and nothing goes beside one."""
        if not any(item.suspect for item in self._queue) and not any(
            item.suspect for item in self._under_way
        ):
            batch, self._queue = self._queue, []
            return batch
        if self._under_way:
            return []
        first = next((n for n, item in enumerate(self._queue) if item.suspect), 0)
        return [self._queue.pop(first)]

    def _connect(self) -> bool:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(self.path)
        except BlockingIOError:  # the server's backlog is full
            connection.close()
            self._flushing = True
            self._loop.call_later(_BACKLOG_FULL_SECONDS, self._flush)
            return False
        except OSError as error:
            connection.close()
            self.dead = True
            self._end(f"the model server does not listen: {error}")
            return False
        self._socket = connection
        self._answered = False
        self._loop.add_reader(connection, self._readable)
        return True

    def _writable(self) -> None:
        assert self._socket is not None
        assert self._unsent is not None
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(str(error))
            return
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._unsent = None
            self._loop.remove_writer(self._socket)
            self._flush()

    # Receiving

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_RECV_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(str(error))
            return
        if not data:
            self._end("the connection was closed")
            return
        if self._received:
            self._received += data
            if len(self._received) < self._wanted:
                return
            data = bytes(self._received)
            self._received.clear()
        try:
            rest = self._take_answers(data)
        except Malformed as error:
            self._end(str(error))
            return
        if rest < len(data):
            self._received += memoryview(data)[rest:]
        if not self._under_way:
            if self._queue:
                self._flush()
            elif self.on_idle is not None:
                self.on_idle(self)

    def _take_answers(self, data: bytes) -> int:
        """Hand every complete answer on; where the rest begins. Raises Malformed."""
        start = 0
        while start < len(data):
            if not self._under_way:
                raise Malformed("the model server answers what nobody asked")
            end = data.find(b"\r\n\r\n", start)
            if end < 0:
                self._wanted = 0
                break
            head = parse_response(data[start:end])
            if head.length is None:
                raise Malformed("the model server's answer has no Content-Length")
            stop = end + 4 + head.length
            if stop > len(data):
                self._wanted = stop - start
                break
            body = data[end + 4 : stop]
            start = stop
            self._progress = perf_counter()
            self._answered = True
            self.owner.answered(self._under_way.popleft(), head, body)
            if not head.keep_alive:
                # What else was sent on this connection is not looked at any more.
                self._queue[:0] = self._under_way
                self._under_way.clear()
                self._end("the connection was closed", expected=True)
                break
        return start

    # The end

    def _end(self, why: str, *, expected: bool = False) -> None:
        """Close the socket; all requests are the owner's again."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            if self._unsent is not None:
                self._loop.remove_writer(self._socket)
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None
        unsent, self._queue = self._queue, []
        orphans = list(self._under_way)
        self._under_way.clear()
        if self._unsent is not None and orphans:
            unsent.insert(0, orphans.pop())
        self._unsent = None
        self._received.clear()
        self._wanted = 0
        if self._was_lost and not self._answered:
            # Nobody has read what was sent to a server after its death.
            unsent, orphans = orphans + unsent, []
            self.dead = True
        self._was_lost = not expected
        if unsent or orphans:
            self.owner.lost(self, unsent, orphans, why)
        if self.on_idle is not None and not self.load:
            self.on_idle(self)
