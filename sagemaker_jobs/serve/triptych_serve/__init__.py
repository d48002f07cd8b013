"""A small, fast model server by SageMaker's inference container contract: ``/ping`` and ``/invocations``."""
