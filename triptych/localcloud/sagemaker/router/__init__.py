"""The inference router: one process a home that carries every InvokeEndpoint to a model server and back."""
