"""Building blocks of the endpoints' tests: models that answer with a word, configurations, endpoints, a load."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sagemaker_laptop import ROLE, XGBOOST, Laptop

ROW = b"0.5,-0.25,1.0"


def create_model(laptop: Laptop, name: str, files: dict[str, Any], **container: Any) -> str:
    uri = laptop.archive(f"models/{name}/model.tar.gz", files)
    container = {"Image": XGBOOST, "ModelDataUrl": uri} | container
    laptop.call("CreateModel", ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    return name


def constant(word: str, **functions: str) -> dict[str, Any]:
    """A model whose inference script answers with one word."""
    body = functions.get("predict", f"return {word!r}")
    load = functions.get("load", "pass")
    code = f"""
import os, time
def model_fn(model_dir):
    {load}
    return {word!r}
def input_fn(body, content_type): return body
def predict_fn(body, model):
    {body}
def output_fn(prediction, accept): return prediction
"""
    return {"code/inference.py": code}


def variant(model: str, name: str = "AllTraffic", **changes: Any) -> dict[str, Any]:
    base = {"VariantName": name, "ModelName": model, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    return base | {"InitialVariantWeight": 1.0} | changes


def create_config(laptop: Laptop, name: str, *variants: dict[str, Any], **changes: Any) -> str:
    laptop.call("CreateEndpointConfig", EndpointConfigName=name, ProductionVariants=list(variants), **changes)
    return name


def create_endpoint(laptop: Laptop, name: str, *variants: dict[str, Any], **changes: Any) -> dict[str, Any]:
    config = create_config(laptop, f"{name}-config", *variants, **changes)
    laptop.call("CreateEndpoint", EndpointName=name, EndpointConfigName=config)
    return laptop.await_endpoint(name)


def invoke(laptop: Laptop, name: str, body: bytes = ROW, **params: Any) -> dict[str, Any]:
    return laptop.call(
        "InvokeEndpoint", EndpointName=name, Body=body, **({"ContentType": "text/csv"} | params)
    )


def await_deleted(laptop: Laptop, name: str) -> None:
    deadline = time.monotonic() + 10
    while laptop.call("ListEndpoints", NameContains=name)["Endpoints"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def echo(word: str, **functions: str) -> dict[str, Any]:
    """A model that answers with its word and the request, so that a wrong answer shows."""
    return constant(word, **({"predict": f"return {word!r} + ':' + body"} | functions))


class Load:
    """Requests without a pause, each with a body of its own."""

    def __init__(self, laptop: Laptop, name: str) -> None:
        self._laptop, self._name = laptop, name
        self.words: list[str] = []
        """who answered, in the order of the answers"""
        self.wrong: list[str] = []
        self.failures: list[Exception] = []
        self._looks = 0
        self._asked_after: list[int] = []
        """for each answer, how many times ``more`` had been called when its request was sent"""
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def run(self, number: int) -> None:
        count = 0
        while not self._stop.is_set():
            count += 1
            body = f"{number}-{count}"
            looks = self._looks
            try:
                answer = invoke(self._laptop, self._name, body.encode())["Body"].decode()
            except Exception as error:
                with self._lock:
                    self.failures.append(error)
                continue
            word, _, echoed = answer.partition(":")
            with self._lock:
                self.words.append(word)
                self._asked_after.append(looks)
                if echoed != body:
                    self.wrong.append(f"{body} was answered with {answer}")

    def more(self, count: int) -> list[str]:
        """Answers to ``count`` requests that are sent from now on."""
        with self._lock:
            self._looks += 1
            looks = self._looks

        def found() -> list[str]:
            with self._lock:
                return [word for word, at in zip(self.words, self._asked_after, strict=True) if at >= looks]

        deadline = time.monotonic() + 60
        while len(found()) < count:
            assert time.monotonic() < deadline, f"no answers; failures: {self.failures[:3]}"
            time.sleep(0.005)
        return found()[:count]

    def until(self, word: str) -> None:
        """Return once somebody has had that answer."""
        deadline = time.monotonic() + 60
        while word not in self.words:
            assert time.monotonic() < deadline, f"nobody had {word!r}; failures: {self.failures[:3]}"
            time.sleep(0.005)

    def stop(self) -> None:
        self._stop.set()

    def check(self) -> None:
        assert self.failures == []
        assert self.wrong == []


@contextmanager
def load(laptop: Laptop, name: str, threads: int = 3) -> Iterator[Load]:
    """Ask the endpoint without a pause while the block runs."""
    asked = Load(laptop, name)
    workers = [threading.Thread(target=asked.run, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield asked
    finally:
        asked.stop()
        for worker in workers:
            worker.join()
