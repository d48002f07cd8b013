"""The plain script's work as a Metaflow flow: seven steps, run locally, results handed on as artefacts.

python metaflow_flow.py run --raw RAW_FOLDER --output OUTPUT_FOLDER
"""

from __future__ import annotations

from pathlib import Path

import plain_pandas
from metaflow import FlowSpec, Parameter, step


class FlightsFlow(FlowSpec):
    """Load, validate, features, split, train, evaluate, save."""

    raw = Parameter("raw", required=True)
    output = Parameter("output", required=True)

    @step
    def start(self):
        self.tables = plain_pandas.load(Path(self.raw))
        self.next(self.validate)

    @step
    def validate(self):
        self.clean, self.quarantine = plain_pandas.validate(self.tables)
        self.next(self.features)

    @step
    def features(self):
        self.rows = plain_pandas.features(self.clean)
        self.next(self.split)

    @step
    def split(self):
        self.parts = plain_pandas.split(self.rows)
        self.next(self.train)

    @step
    def train(self):
        self.model = plain_pandas.train(*self.parts["train"][1:])
        self.next(self.evaluate)

    @step
    def evaluate(self):
        self.scores, self.metrics = plain_pandas.judge(self.model, self.parts)
        self.next(self.end)

    @step
    def end(self):
        part = self.parts["test"][0]
        plain_pandas.save(Path(self.output), self.quarantine, self.model, self.metrics, part, self.scores)


if __name__ == "__main__":
    FlightsFlow()
