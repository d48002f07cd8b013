"""The local AWS endpoint: Step Functions and real compute of our own, moto for the rest."""
