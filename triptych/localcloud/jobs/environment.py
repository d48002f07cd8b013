"""What every job finds in its environment: a path, a locale, and the local cloud as its AWS."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from triptych.localcloud.cloud import Settings


def base_environment(settings: Settings) -> dict[str, str]:
    """Variables for a process of the local cloud; boto3 and the AWS CLI in it talk to the gateway only."""
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "HOME": os.environ.get("HOME", "/tmp"),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "AWS_ENDPOINT_URL": settings.endpoint_url,
        "AWS_REGION": settings.region,
        "AWS_DEFAULT_REGION": settings.region,
        "AWS_ACCESS_KEY_ID": "triptych",
        "AWS_SECRET_ACCESS_KEY": "triptych",
        "AWS_EC2_METADATA_DISABLED": "true",
        # The developer's own profiles must not reach a job.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    if settings.runtime_endpoint_url:
        environment["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] = settings.runtime_endpoint_url
    return environment
