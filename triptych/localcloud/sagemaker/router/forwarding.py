"""Requests that are none of the router's: SageMaker Runtime's other operations are the gateway's."""

from __future__ import annotations

import asyncio

from triptych.localcloud.sagemaker.router.http import Refusal, RequestHead

_HOP_BY_HOP = {"connection", "expect", "transfer-encoding", "content-length", "keep-alive"}


async def forward(
    head: RequestHead, body: bytes, host: str, port: int, request_id: str, timeout_seconds: float
) -> bytes:
    """The gateway's whole answer, after which the connection is to be closed."""
    lines = [f"{head.method} {head.target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in head.headers.items() if name not in _HOP_BY_HOP]
    lines += [f"content-length: {len(body)}", "connection: close", "", ""]
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write("\r\n".join(lines).encode("latin-1") + body)
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        text = f"the local cloud's gateway does not answer: {error or type(error).__name__}"
        return Refusal("ServiceUnavailable", text, 503).render(request_id, close=True)
    if not answer.startswith(b"HTTP/1."):
        text = "the local cloud's gateway closed the connection"
        return Refusal("ServiceUnavailable", text, 503).render(request_id, close=True)
    return answer
