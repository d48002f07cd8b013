"""What the Glue jobs share; packed as ``glue_lib`` for ``--extra-py-files``."""
