"""The pure part that ships everywhere: in the Lambda layer, the Glue libraries and the SageMaker sources."""
