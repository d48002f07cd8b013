"""A variant as the router sees it: its servers' links, and what becomes of the requests sent to it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from triptych.localcloud.sagemaker.router.http import Refusal, ResponseHead, render
from triptych.localcloud.sagemaker.router.invocation import Invocation
from triptych.localcloud.sagemaker.router.links import Link
from triptych.localcloud.sagemaker.router.observing import Observer, Tally
from triptych.localcloud.sagemaker.router.settings import RouterSettings

if TYPE_CHECKING:
    from triptych.localcloud.sagemaker.router.endpoints import Endpoint

LOG_GROUP_PREFIX = "/aws/sagemaker/Endpoints/"
_SHADOW_BACKLOG = 1000
_SHADOW_BACKLOG_BYTES = 128 * 2**20


class Variant:
    """A production or shadow variant of one fleet."""

    def __init__(
        self,
        endpoint: Endpoint,
        name: str,
        loop: asyncio.AbstractEventLoop,
        settings: RouterSettings,
        observer: Observer,
    ) -> None:
        self.endpoint = endpoint
        self.name = name
        self.weight = 1.0
        self.shadow = False
        self.max_concurrency: int | None = None
        self.instances = 1
        self.in_flight = 0
        self.retired = False
        self.shadows: Sequence[tuple[float, Variant]] = ()
        """the fleet's shadow variants, and the share of this variant's requests that each gets"""
        self.waiting: deque[Invocation] = deque()
        self._links: list[Link] = []
        self._turn = 0
        self._loop = loop
        self._settings = settings
        self._observer = observer
        self._tally: Tally = observer.tally(endpoint.name, name)
        self._header = f"x-Amzn-Invoked-Production-Variant: {name}\r\n"
        self._bytes_in_flight = 0

    @property
    def links(self) -> Sequence[Link]:
        return self._links

    def retire(self) -> None:
        """The variant serves no longer: what waits for a server goes to what serves now, copies to nobody."""
        self.retired = True
        waiting, self.waiting = self.waiting, deque()
        for invocation in waiting:
            self._again(invocation)

    def serve_by(self, links: list[Link]) -> None:
        """The servers from now on; requests that waited for one go on."""
        self._links = links
        waiting, self.waiting = self.waiting, deque()
        for invocation in waiting:
            self._send(invocation)

    @property
    def endpoint_name(self) -> str:
        return self.endpoint.name

    @property
    def full(self) -> bool:
        """No further request may come now."""
        return self.max_concurrency is not None and self.in_flight >= self.max_concurrency

    def submit(self, invocation: Invocation) -> None:
        """Send the request to one of the servers, or let it wait for one that is being replaced."""
        invocation.variant = self
        self.in_flight += 1
        self._bytes_in_flight += len(invocation.body)
        self._send(invocation)

    def submit_copy(self, invocation: Invocation) -> None:
        """Send a shadow its copy, unless it is far behind already."""
        size = len(invocation.body)
        if self.in_flight < _SHADOW_BACKLOG and self._bytes_in_flight + size <= _SHADOW_BACKLOG_BYTES:
            self.submit(invocation.copy())

    def _send(self, invocation: Invocation) -> None:
        link = self._choose()
        if link is not None:
            link.send(invocation)
            return
        if not self.waiting:
            self._loop.call_later(self._settings.replacement_seconds, self._give_up)
        invocation.deadline = perf_counter() + self._settings.replacement_seconds
        self.waiting.append(invocation)

    def _choose(self) -> Link | None:
        """The living server with the fewest requests; those with as few take turns."""
        links = self._links
        if len(links) == 1:
            return None if links[0].dead else links[0]
        self._turn += 1
        living = [link for link in links if not link.dead]
        if not living:
            return None
        start = self._turn % len(living)
        return min(living[start:] + living[:start], key=lambda link: link.load)

    def _give_up(self) -> None:
        """No server has come in time for the requests that wait longest."""
        now = perf_counter()
        while self.waiting and self.waiting[0].deadline <= now:
            text = f"Endpoint {self.endpoint.name}: no model server of variant {self.name} is running."
            self._unanswered(self.waiting.popleft(), Refusal("ServiceUnavailable", text, 503))
        if self.waiting:
            self._loop.call_later(self.waiting[0].deadline - now, self._give_up)

    # What a link tells

    def answered(self, invocation: Invocation, head: ResponseHead, body: bytes) -> None:
        """Hand the model's answer to the client, then count and capture it."""
        model_seconds = perf_counter() - invocation.sent
        self._over(invocation)
        if invocation.abandoned:
            return
        status = head.status
        if invocation.client is not None:
            if 200 <= status < 300:
                attributes = head.custom_attributes
                extra = f"X-Amzn-SageMaker-Custom-Attributes: {attributes}\r\n" if attributes else ""
                headers = f"x-amzn-RequestId: {invocation.request_id}\r\n{self._header}{extra}"
                invocation.client.respond(render(200, headers, body, head.content_type))
            else:
                text = body.decode("utf-8", "replace")
                refusal = self._model_error(invocation, status, text)
                invocation.client.respond(refusal.render(invocation.request_id))
        overhead_seconds = perf_counter() - invocation.arrived - model_seconds
        self._tally.answered(status, model_seconds, overhead_seconds, self.instances)
        if invocation.capture is not None and 200 <= status < 300:
            self._observer.capture(
                invocation.capture,
                invocation,
                self.name,
                status,
                head.content_type,
                body,
                model_seconds,
                overhead_seconds,
            )

    def lost(self, link: Link, unsent: Sequence[Invocation], orphans: Sequence[Invocation], why: str) -> None:
        """Ask again where the server cannot have seen the request, or may have died of another one."""
        if len(orphans) == 1:
            refusal = self._model_error(orphans[0], 500, f"the model server went away: {why}")
            self._unanswered(orphans[0], refusal)
        else:
            for invocation in orphans:
                invocation.suspect = True
                self._again(invocation)
        for invocation in unsent:
            self._again(invocation)

    def times_out(self, invocation: Invocation) -> None:
        """Tell the client that there was no answer in time; the server may give it still."""
        text = (
            "Your invocation timed out while waiting for a response from container primary "
            f"(no answer within {self._settings.invoke_seconds:g} seconds)"
        )
        self._tell_unanswered(invocation, self._model_error(invocation, 0, text))
        invocation.abandoned = True

    def hangs(self, invocation: Invocation) -> None:
        """The server gives no answers any more, and was given up: this request is over."""
        if not invocation.abandoned:
            self.times_out(invocation)
        self._over(invocation)

    # Inside

    def _again(self, invocation: Invocation) -> None:
        self._over(invocation)
        if invocation.abandoned:
            return
        if not self.retired:
            self.submit(invocation)
        elif invocation.client is not None:
            self.endpoint.submit(invocation)

    def _over(self, invocation: Invocation) -> None:
        self.in_flight -= 1
        self._bytes_in_flight -= len(invocation.body)

    def _unanswered(self, invocation: Invocation, refusal: Refusal) -> None:
        self._over(invocation)
        if not invocation.abandoned:
            self._tell_unanswered(invocation, refusal)

    def _tell_unanswered(self, invocation: Invocation, refusal: Refusal) -> None:
        self._tally.unanswered(self.instances)
        if invocation.client is not None:
            invocation.client.respond(refusal.render(invocation.request_id))

    def _model_error(self, invocation: Invocation, status: int, text: str) -> Refusal:
        group = f"{LOG_GROUP_PREFIX}{self.endpoint.name}"
        side = "client" if 400 <= status < 500 else "server"
        stream = invocation.link.stream if invocation.link is not None else ""
        return Refusal(
            "ModelError",
            f'Received {side} error ({status}) from primary with message "{text[:1000]}". '
            f"See the log group {group}.",
            424,
            {
                "OriginalStatusCode": status,
                "OriginalMessage": text[:2048],
                "LogStreamArn": f"{self._settings.log_prefix}{group}:log-stream:{stream}",
            },
        )
