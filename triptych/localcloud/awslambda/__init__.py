"""AWS Lambda: a function's own zip runs in warm, isolated worker processes."""
