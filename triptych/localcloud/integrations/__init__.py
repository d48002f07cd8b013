"""What Task states, ItemReaders and ResultWriters do to other services: one small module a service."""
