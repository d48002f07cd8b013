"""Which container images the laptop can run: there are no containers here, so an image names a runner."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from triptych.localcloud.sagemaker.errors import invalid

Algorithm = Literal["xgboost", "own"]

_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/(?P<path>.+)"
)
_TAG = re.compile(r"(?P<repository>[^:@]+)(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]+))?")


@dataclass(frozen=True)
class Runner:
    """What an image can do here. ``algorithm`` is what it trains when no script is given.

    ``own`` is the project's own image, which trains with the script that it holds and takes no other.
    """

    name: str
    describes: str
    repositories: tuple[str, ...]
    algorithm: Algorithm | None = None

    def knows(self, repository: str) -> bool:
        last = repository.rsplit("/", 1)[-1]
        return repository in self.repositories or last in self.repositories


RUNNERS = (
    Runner(
        "xgboost",
        "AWS's XGBoost container, any version: the managed algorithm, script mode, processing, serving",
        ("sagemaker-xgboost", "xgboost"),
        algorithm="xgboost",
    ),
    Runner(
        "scikit-learn",
        "AWS's scikit-learn container: script mode, processing, serving with an inference script",
        ("sagemaker-scikit-learn",),
    ),
    Runner(
        "triptych",
        "the project's own container: trains with sagemaker_jobs/train, processing, serving",
        ("triptych", "triptych-ml", "triptych-sagemaker"),
        algorithm="own",
    ),
)


@dataclass(frozen=True)
class Image:
    """A parsed image URI with its runner."""

    uri: str
    repository: str
    tag: str | None
    runner: Runner


def resolve_image(uri: str) -> Image:
    """The image behind ``uri``; raises ValidationException that lists the known ones when there is none."""
    ecr = _ECR.fullmatch(uri)
    parts = _TAG.fullmatch(ecr["path"] if ecr else uri)
    if parts is not None:
        for runner in RUNNERS:
            if runner.knows(parts["repository"]):
                return Image(uri, parts["repository"], parts["tag"], runner)
    known = "; ".join(f"{', '.join(runner.repositories)} ({runner.describes})" for runner in RUNNERS)
    raise invalid(
        f"The local cloud has no runner for the image '{uri}': there are no containers on the laptop, so an "
        f"image must be one of these repositories, in any registry and version: {known}. On AWS the "
        "image may "
        "be any. A runner is added in triptych/localcloud/sagemaker/images.py."
    )
