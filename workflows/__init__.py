"""What runs: four state machines, written with the Data Science SDK, rendered to ``rendered/*.asl.json``."""
