"""Application Auto Scaling: the instance counts of SageMaker's variants follow metrics and schedules."""
