"""The routing table: each endpoint's fleets and their shares, replaced as a whole when the gateway says so."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from time import perf_counter
from typing import Any

from triptych.localcloud.sagemaker.router.http import Refusal
from triptych.localcloud.sagemaker.router.invocation import Invocation
from triptych.localcloud.sagemaker.router.links import Link
from triptych.localcloud.sagemaker.router.observing import CapturePlan, Observer, new_event_id
from triptych.localcloud.sagemaker.router.settings import RouterSettings
from triptych.localcloud.sagemaker.router.variants import Variant


class Choice:
    """Variants to choose from by weight."""

    def __init__(self, weighted: Iterable[tuple[float, Variant]]) -> None:
        pairs = [(weight, variant) for weight, variant in weighted if weight > 0]
        self._variants = [variant for _, variant in pairs]
        self._bounds = list(accumulate(weight for weight, _ in pairs))

    def __call__(self) -> Variant | None:
        """One of them at random; None where there is none."""
        if len(self._variants) == 1:
            return self._variants[0]
        if not self._variants:
            return None
        return self._variants[
            bisect(self._bounds, random.random() * self._bounds[-1], 0, len(self._bounds) - 1)
        ]


class Endpoint:
    """One endpoint: until its first fleets are known, requests wait."""

    def __init__(
        self, name: str, loop: asyncio.AbstractEventLoop, settings: RouterSettings, observer: Observer
    ) -> None:
        self.name = name
        self.capture: CapturePlan | None = None
        self._loop = loop
        self._settings = settings
        self._observer = observer
        self._ready = False
        self._parked: list[Invocation] = []
        self._variants: dict[tuple[str, str], Variant] = {}
        self._choose = Choice(())
        self._by_name: dict[str, Choice] = {}

    def update(self, entry: dict[str, Any], link_of: Callable[[str, str, Variant], Link]) -> None:
        """Go by the gateway's ``entry`` from now on; ``link_of`` gives the link for a socket and log stream."""
        capture = entry["capture"]
        self.capture = None if capture is None else CapturePlan(**capture)
        old, self._variants = self._variants, {}
        weighted: list[tuple[float, Variant]] = []
        named: dict[str, list[tuple[float, Variant]]] = {}
        for fleet in entry["fleets"]:
            variants = []
            for plan in fleet["variants"]:
                key = (fleet["id"], plan["name"])
                variant = old.pop(key, None) or Variant(
                    self, plan["name"], self._loop, self._settings, self._observer
                )
                self._variants[key] = variant
                variant.weight, variant.shadow = plan["weight"], plan["shadow"]
                variant.max_concurrency, variant.instances = plan["max_concurrency"], plan["instances"]
                variants.append((variant, plan["servers"]))
            production = [variant for variant, _ in variants if not variant.shadow]
            total = sum(variant.weight for variant in production)
            shadows = [
                (min(1.0, variant.weight / total) if total else 1.0, variant)
                for variant, _ in variants
                if variant.shadow
            ]
            for variant in production:
                variant.shadows = shadows
                weighted.append((fleet["share"] * variant.weight / total if total else 0.0, variant))
                named.setdefault(variant.name, []).append((fleet["share"], variant))
            for variant, servers in variants:
                variant.serve_by([link_of(server["path"], server["stream"], variant) for server in servers])
        self._choose = Choice(weighted)
        self._by_name = {name: Choice(pairs) for name, pairs in named.items()}
        self._ready = entry["ready"]
        for variant in old.values():
            variant.retire()
        if self._ready:
            parked, self._parked = self._parked, []
            for invocation in parked:
                self.submit(invocation)

    def remove(self) -> None:
        """The endpoint is no more: what waits is refused."""
        for variant in self._variants.values():
            variant.retire()
        self._ready = True
        self._variants, self._choose, self._by_name = {}, Choice(()), {}
        parked, self._parked = self._parked, []
        for invocation in parked:
            self.submit(invocation)

    @property
    def links(self) -> Sequence[Link]:
        return [link for variant in self._variants.values() for link in variant.links]

    def submit(self, invocation: Invocation) -> None:
        """Send a request on its way to a variant by the weights, or to its target variant; copies to the shadows."""
        if not self._ready:
            self._park(invocation)
            return
        if invocation.target:
            choice = self._by_name.get(invocation.target)
            if choice is None:
                self._refuse(invocation, self._no_such_variant(invocation.target))
                return
            variant = choice()
        else:
            variant = self._choose()
        if variant is None:
            text = (
                f"Endpoint {self.name}: every variant has the weight 0."
                if self._by_name
                else f"Endpoint {self.name} of account {self._settings.account_id} is not in service."
            )
            self._refuse(invocation, Refusal("ServiceUnavailable", text, 503))
            return
        if variant.full:
            text = (
                f"Rate exceeded: variant {variant.name} answers {variant.max_concurrency} requests at a time."
            )
            self._refuse(invocation, Refusal("ThrottlingException", text))
            return
        plan = self.capture
        if plan is not None and invocation.capture is None and random.random() < plan.share:
            invocation.capture, invocation.event_id = plan, new_event_id()
        variant.submit(invocation)
        for share, shadow in variant.shadows:
            if share >= 1.0 or random.random() < share:
                shadow.submit_copy(invocation)

    def _park(self, invocation: Invocation) -> None:
        if not self._parked:
            self._loop.call_later(self._settings.restore_seconds, self._give_up)
        invocation.deadline = perf_counter() + self._settings.restore_seconds
        self._parked.append(invocation)

    def _give_up(self) -> None:
        now = perf_counter()
        late = [item for item in self._parked if item.deadline <= now]
        self._parked = self._parked[len(late) :]
        for invocation in late:
            text = f"Endpoint {self.name} of account {self._settings.account_id} is still coming back."
            self._refuse(invocation, Refusal("ServiceUnavailable", text, 503))
        if self._parked:
            self._loop.call_later(self._parked[0].deadline - now, self._give_up)

    def _no_such_variant(self, name: str) -> Refusal:
        known = ", ".join(self._by_name) or "none"
        return Refusal(
            "ValidationError", f"Variant {name} not found in endpoint {self.name}; it has {known}."
        )

    @staticmethod
    def _refuse(invocation: Invocation, refusal: Refusal) -> None:
        if invocation.client is not None:
            invocation.client.respond(refusal.render(invocation.request_id))


class Table:
    """All endpoints by name, and the links to their servers by socket path."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: RouterSettings,
        observer: Observer,
        on_drop: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._observer = observer
        self._on_drop = on_drop
        self._endpoints: dict[str, Endpoint] = {}
        self._links: dict[str, Link] = {}

    def get(self, name: str) -> Endpoint | None:
        return self._endpoints.get(name)

    @property
    def links(self) -> Iterable[Link]:
        """Every link with or without requests, also of fleets that serve no longer."""
        return self._links.values()

    def apply(self, entries: dict[str, dict[str, Any] | None]) -> None:
        """Replace endpoints; None removes one."""
        for name, entry in entries.items():
            if entry is None:
                gone = self._endpoints.pop(name, None)
                if gone is not None:
                    gone.remove()
                continue
            endpoint = self._endpoints.get(name)
            if endpoint is None:
                endpoint = Endpoint(name, self._loop, self._settings, self._observer)
                self._endpoints[name] = endpoint
            endpoint.update(entry, self._link)
        used = {link.path for endpoint in self._endpoints.values() for link in endpoint.links}
        for link in [link for path, link in self._links.items() if path not in used]:
            if link.load:
                link.on_idle = self._drop
            else:
                self._drop(link)

    def server_ended(self, path: str) -> None:
        """The server that listened there is dead."""
        link = self._links.get(path)
        if link is not None:
            link.reported = True
            link.close()

    def busy(self, paths: Iterable[str]) -> bool:
        """Whether one of these servers, which serve no longer, has a request still."""
        return any(path in self._links for path in paths)

    def _link(self, path: str, stream: str, variant: Variant) -> Link:
        link = self._links.get(path)
        if link is None:
            link = Link(self._loop, path, stream, variant, self._settings.invoke_seconds)
            self._links[path] = link
        link.on_idle = None
        return link

    def _drop(self, link: Link) -> None:
        self._links.pop(link.path, None)
        link.on_idle = None
        link.close()
        self._on_drop()
