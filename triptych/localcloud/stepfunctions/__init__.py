"""A durable interpreter of the Amazon States Language and the Step Functions API on top of it."""
