"""What runs: the four state machines, written with the Data Science SDK and rendered to ``rendered/*.asl.json``."""
