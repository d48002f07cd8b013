"""The router's process: clients on one side, model servers on the other, the gateway's orders beside them."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import cast
from uuid import uuid4

from triptych.localcloud.sagemaker.router.clients import ClientConnection
from triptych.localcloud.sagemaker.router.endpoints import Table
from triptych.localcloud.sagemaker.router.forwarding import forward
from triptych.localcloud.sagemaker.router.http import Refusal, RequestHead
from triptych.localcloud.sagemaker.router.invocation import Invocation
from triptych.localcloud.sagemaker.router.messages import Decoder, Message, encode
from triptych.localcloud.sagemaker.router.observing import Observer
from triptych.localcloud.sagemaker.router.settings import RouterSettings
from triptych.localcloud.sagemaker.router.variants import Variant

_INVOCATIONS = re.compile(r"/endpoints/([^/?]+)/invocations(?:\?.*)?$")
_FORWARD_SECONDS = 300.0
_WATCH_SECONDS = 0.25
_STOP_SECONDS = 5.0
_CONGESTED_BYTES = 256 * 2**20


class Router:
    """Answers the clients by the table that the gateway publishes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: RouterSettings, gateway: Gateway) -> None:
        self.max_body_bytes = settings.max_body_bytes
        self.connections: set[ClientConnection] = set()
        self._loop = loop
        self._settings = settings
        self._gateway = gateway
        self._observer = Observer(gateway.send, gateway.congested)
        self._table = Table(loop, settings, self._observer, self._tell_drained)
        self._asked: dict[str, list[Invocation]] = {}
        self._draining: dict[int, Sequence[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._id_prefix = str(uuid4())[:24]
        self._ids = 0

    def new_request_id(self) -> str:
        self._ids += 1
        return f"{self._id_prefix}{self._ids:012x}"

    # Clients

    def take(self, connection: ClientConnection, head: RequestHead, body: bytes) -> None:
        """One complete request of a client."""
        match = _INVOCATIONS.match(head.target)
        if match is None or head.method != "POST":
            self._forward(connection, head, body)
            return
        name = match[1]
        invocation = Invocation(connection, head.headers, body, perf_counter(), self.new_request_id())
        endpoint = self._table.get(name)
        if endpoint is not None:
            endpoint.submit(invocation)
            return
        # The gateway knows why the endpoint does not serve.
        if name not in self._asked:
            self._asked[name] = []
            self._gateway.send({"kind": "missing", "endpoint": name})
        self._asked[name].append(invocation)

    def _forward(self, connection: ClientConnection, head: RequestHead, body: bytes) -> None:
        async def run() -> None:
            answer = await forward(
                head,
                body,
                self._settings.gateway_host,
                self._settings.gateway_port,
                self.new_request_id(),
                _FORWARD_SECONDS,
            )
            connection.respond(answer, keep_alive=False)

        task = self._loop.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # The gateway's orders

    def obey(self, message: Message) -> None:
        """Carry out one of the gateway's messages."""
        kind = message["kind"]
        if kind == "routes":
            self._table.apply(message["endpoints"])
            for name in message["endpoints"]:
                self._answer_asked(name, None)
            # Of the old routes' captures none must come after the answer.
            self._observer.flush_captures()
            self._gateway.send({"kind": "routed", "generation": message["generation"]})
        elif kind == "refuse":
            refusal = Refusal(message["code"], message["message"], message["status"])
            self._answer_asked(message["endpoint"], refusal)
        elif kind == "ended":
            self._table.server_ended(message["server"])
        elif kind == "drain":
            self._draining[message["id"]] = message["servers"]
            self._tell_drained()
        else:
            raise ValueError(f"the gateway sent a message of unknown kind {kind!r}")

    def _answer_asked(self, name: str, refusal: Refusal | None) -> None:
        for invocation in self._asked.pop(name, ()):
            endpoint = self._table.get(name)
            if endpoint is not None:
                endpoint.submit(invocation)
            elif invocation.client is not None:
                gone = refusal or Refusal(
                    "ValidationError",
                    f"Endpoint {name} of account {self._settings.account_id} is not in service.",
                )
                invocation.client.respond(gone.render(invocation.request_id))

    def _tell_drained(self) -> None:
        for identity in [key for key, paths in self._draining.items() if not self._table.busy(paths)]:
            del self._draining[identity]
            self._observer.flush_captures()
            self._gateway.send({"kind": "drained", "id": identity})

    # By the clock

    def watch(self) -> None:
        """Look for servers that hang and for fleets that have been drained, a few times a second."""
        now = perf_counter()
        for link in list(self._table.links):
            culprit = link.hangs_over(now)
            if culprit is None:
                for late in link.overdue(now):
                    _variant(late).times_out(late)
            else:
                link.condemn(culprit)
                _variant(culprit).hangs(culprit)
            if link.dead and not link.reported:
                link.reported = True
                self._gateway.send(
                    {"kind": "hung", "endpoint": link.owner.endpoint_name, "server": link.path}
                )
        self._tell_drained()
        self._loop.call_later(_WATCH_SECONDS, self.watch)

    def flush_captures(self) -> None:
        self._observer.flush_captures()
        self._loop.call_later(self._settings.capture_flush_seconds, self.flush_captures)

    def flush_metrics(self) -> None:
        """Send the metrics of the second that has just ended."""
        now = time.time()
        self._observer.flush_metrics(int(now - 0.5))
        self._loop.call_later(int(now) + 1.01 - now, self.flush_metrics)

    def finish(self) -> None:
        """Send all that was observed and not told yet."""
        self._observer.flush_captures()
        self._observer.flush_metrics(int(time.time()))


def _variant(invocation: Invocation) -> Variant:
    """The variant of a request that was submitted to one."""
    assert invocation.variant is not None
    return invocation.variant


class Gateway(asyncio.Protocol):
    """The socket to the gateway; when that one is gone, so is the router."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.opened = asyncio.Event()
        self.lost = False
        self.router: Router | None = None
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        assert self.router is not None
        for message, _ in self._decoder.feed(data):
            if message["kind"] == "open":
                self.opened.set()
            elif message["kind"] == "stop":
                self.ended.set()
            else:
                self.router.obey(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.opened.set()
        self.ended.set()

    def send(self, message: Message, blobs: Sequence[bytes] = ()) -> None:
        if self._transport is not None and not self.lost:
            self._transport.write(encode(message, blobs))

    def congested(self) -> bool:
        """The gateway does not read as fast as it is told."""
        return self._transport is not None and self._transport.get_write_buffer_size() > _CONGESTED_BYTES

    async def close(self) -> None:
        """Close once everything is written."""
        if self._transport is not None:
            self._transport.close()
            while not self.lost:
                await asyncio.sleep(0.005)


async def serve(settings: RouterSettings, control: socket.socket, listener: socket.socket) -> None:
    """Answer on ``listener`` until the gateway says stop, or is gone."""
    loop = asyncio.get_running_loop()
    gateway = Gateway()
    router = gateway.router = Router(loop, settings, gateway)
    control.setblocking(False)
    await loop.create_connection(lambda: gateway, sock=control)
    await gateway.opened.wait()  # a request must not meet an empty table
    listener.setblocking(False)
    server = await loop.create_server(lambda: ClientConnection(router, loop), sock=listener, backlog=1024)
    router.watch()
    router.flush_captures()
    router.flush_metrics()
    await gateway.ended.wait()
    server.close()
    if not gateway.lost:
        await _until_idle(router.connections)
        router.finish()
        await gateway.close()


async def _until_idle(connections: Iterable[ClientConnection]) -> None:
    """Let the requests under way be answered, for a while."""
    deadline = perf_counter() + _STOP_SECONDS
    while any(connection.busy for connection in connections) and perf_counter() < deadline:
        await asyncio.sleep(0.005)
