"""This folder, not this package, is what a Glue job has on its path: it brings ``awsglue``."""
