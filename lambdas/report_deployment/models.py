"""Which model answers: endpoints know configurations and variants, a person thinks of the old and the new model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from history import Change, Look


class Models:
    """The names of the models behind the configurations and variants of one endpoint, over time.

    A configuration of an A/B or shadow trial holds both models; every other configuration holds one.
    """

    def __init__(
        self, strategy: str, variant_names: Sequence[str], looks: Sequence[Look], changes: Sequence[Change]
    ) -> None:
        self._looks = looks
        self._strategy = strategy
        self._on_trial = variant_names[-1] if variant_names else None
        created = bool(changes) and changes[0].action == "createEndpoint"
        self.former_configuration = None if created or not looks else looks[0].configuration
        self._trials = {name for look in looks for name in look.shadowed} | {
            fleet.configuration
            for look in looks
            for fleet in look.fleets
            if strategy == "ab" and fleet.variant == self._on_trial
        }
        trial = strategy == "ab" and self.former_configuration is not None
        self._former, self._new = ("champion", "challenger") if trial else ("former model", "new model")
        self.names = (self._former, self._new) if self.former_configuration else (self._new,)

    def name(self, configuration: str, variant: str) -> str:
        """The model behind a variant of a configuration."""
        if self.former_configuration is None:
            return self._new
        if configuration == self.former_configuration:
            return self._former
        if configuration in self._trials:
            challenges = self._strategy == "ab" and variant == self._on_trial
            return self._new if challenges else self._former
        return self._new

    def shares(self, look: Look) -> dict[str, float]:
        """Each model's share of the requests, those without any left out."""
        found: dict[str, float] = {}
        for (configuration, variant), share in look.shares().items():
            if share > 0:
                name = self.name(configuration, variant)
                found[name] = found.get(name, 0.0) + share
        return found

    def shares_over_time(self, start: datetime) -> Iterator[tuple[datetime, Mapping[str, float]]]:
        """The shares from each moment on; what the first look saw was so from ``start`` on."""
        last: dict[str, float] = {}
        for look in self._looks:
            shares = self.shares(look)
            if shares and shares != last:
                yield self._since(look, start), shares
                last = shares

    def variants_over_time(self, start: datetime) -> Iterator[tuple[datetime, Mapping[str, str]]]:
        """The model behind each variant from each moment on; a variant of both models has none."""
        last: dict[str, str] = {}
        for look in self._looks:
            behind: dict[str, set[str]] = {}
            for (configuration, variant), share in look.shares().items():
                if share > 0:
                    behind.setdefault(variant, set()).add(self.name(configuration, variant))
            found = {variant: next(iter(names)) for variant, names in behind.items() if len(names) == 1}
            if behind and found != last:
                yield self._since(look, start), found
                last = found

    def _since(self, look: Look, start: datetime) -> datetime:
        served_before = self.former_configuration is not None and look is self._looks[0]
        return min(start, look.at) if served_before else look.at
