"""What the commands do; one module a group, imported only when one of its commands runs."""
