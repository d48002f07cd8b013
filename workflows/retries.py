"""Named retry policies: transient errors only, with backoff and jitter.

Error names are those of Step Functions' service integrations: an error that a service's model names is
``Service.Error``, any other (throttling among them) is the service's own base exception.
"""

from __future__ import annotations

from enum import Enum

from stepfunctions.steps.states import Retry


class _DelayField(Enum):
    JitterStrategy = "jitter_strategy"
    MaxDelaySeconds = "max_delay_seconds"


class RetryPolicy(Retry):
    """A retrier with jitter and a longest delay, which the SDK's lacks."""

    def allowed_fields(self) -> list[Enum]:
        return [*super().allowed_fields(), *_DelayField]


LAMBDA = RetryPolicy(
    error_equals=[
        "Lambda.ClientExecutionTimeoutException",
        "Lambda.ServiceException",
        "Lambda.AWSLambdaException",
        "Lambda.SdkClientException",
        "Lambda.TooManyRequestsException",
    ],
    interval_seconds=1,
    max_attempts=5,
    backoff_rate=2.0,
    max_delay_seconds=30,
    jitter_strategy="FULL",
)
"""Lambda refused or lost the call; the function's own errors are not retried."""

GLUE_JOB = RetryPolicy(
    error_equals=[
        "Glue.ConcurrentRunsExceededException",
        "Glue.InternalServiceException",
        "Glue.OperationTimeoutException",
        "Glue.ResourceNumberLimitExceededException",
        "Glue.AWSGlueException",
        "Glue.SdkClientException",
    ],
    interval_seconds=10,
    max_attempts=5,
    backoff_rate=2.0,
    max_delay_seconds=300,
    jitter_strategy="FULL",
)
"""Glue has no room for the run just now, or is throttling; a run that failed is not repeated."""

SAGEMAKER_CAPACITY = RetryPolicy(
    error_equals=["SageMaker.ResourceLimitExceededException", "SageMaker.ResourceLimitExceeded"],
    interval_seconds=60,
    max_attempts=5,
    backoff_rate=2.0,
    max_delay_seconds=900,
    jitter_strategy="FULL",
)
"""The account's quota of instances is in use; others' jobs end sooner or later."""

SAGEMAKER_CALL = RetryPolicy(
    error_equals=["SageMaker.AmazonSageMakerException", "SageMaker.SdkClientException"],
    interval_seconds=2,
    max_attempts=2,
    backoff_rate=2.0,
    max_delay_seconds=30,
    jitter_strategy="FULL",
)
"""Throttling of an optimised integration; a refused request has the same name, hence two attempts only."""

SAGEMAKER_SDK = RetryPolicy(
    error_equals=["SageMaker.SageMakerException", "SageMaker.SdkClientException"],
    interval_seconds=2,
    max_attempts=2,
    backoff_rate=2.0,
    max_delay_seconds=30,
    jitter_strategy="FULL",
)
"""The same for ``aws-sdk`` integrations."""

SAGEMAKER_LOOKUP = RetryPolicy(
    error_equals=["SageMaker.SdkClientException"],
    interval_seconds=1,
    max_attempts=3,
    backoff_rate=2.0,
    max_delay_seconds=10,
    jitter_strategy="FULL",
)
"""A lookup whose ``SageMakerException`` means "there is none", and so must not be retried."""

AUTOSCALING = RetryPolicy(
    error_equals=[
        "ApplicationAutoScaling.ConcurrentUpdateException",
        "ApplicationAutoScaling.InternalServiceException",
        "ApplicationAutoScaling.ApplicationAutoScalingException",
        "ApplicationAutoScaling.SdkClientException",
    ],
    interval_seconds=2,
    max_attempts=4,
    backoff_rate=2.0,
    max_delay_seconds=30,
    jitter_strategy="FULL",
)
"""Throttled, or another change of the same target is under way."""

CLOUDWATCH = RetryPolicy(
    error_equals=[
        "CloudWatch.InternalServiceFaultException",
        "CloudWatch.CloudWatchException",
        "CloudWatch.SdkClientException",
    ],
    interval_seconds=1,
    max_attempts=3,
    backoff_rate=2.0,
    max_delay_seconds=10,
    jitter_strategy="FULL",
)
"""Throttling of looks at alarms."""

NESTED_EXECUTION = RetryPolicy(
    error_equals=[
        "StepFunctions.ExecutionLimitExceededException",
        "StepFunctions.AWSStepFunctionsException",
        "StepFunctions.SdkClientException",
    ],
    interval_seconds=5,
    max_attempts=4,
    backoff_rate=2.0,
    max_delay_seconds=60,
    jitter_strategy="FULL",
)
"""The nested execution could not be started; one that ran and failed is not repeated."""

NESTED_EXECUTION_SDK = RetryPolicy(
    error_equals=["Sfn.SfnException", "Sfn.SdkClientException"],
    interval_seconds=2,
    max_attempts=3,
    backoff_rate=2.0,
    max_delay_seconds=30,
    jitter_strategy="FULL",
)
"""The same for ``aws-sdk`` integrations."""

NOTIFICATION = RetryPolicy(
    error_equals=[
        "SNS.AmazonSNSException",
        "SNS.InternalErrorException",
        "SNS.ThrottledException",
        "SNS.SdkClientException",
    ],
    interval_seconds=1,
    max_attempts=3,
    backoff_rate=2.0,
    max_delay_seconds=10,
    jitter_strategy="FULL",
)
