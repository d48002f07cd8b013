"""``python -m triptych.localcloud.sagemaker.router CONTROL_FD LISTENING_FD SETTINGS``: started by the gateway."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import socket
import sys
from importlib.util import find_spec

from triptych.localcloud.sagemaker.router.process import serve
from triptych.localcloud.sagemaker.router.settings import RouterSettings


def main(arguments: list[str]) -> int:
    """Serve until the gateway ends it; a signal to the terminal's process group is the gateway's affair."""
    control, listener = (socket.socket(fileno=int(text)) for text in arguments[:2])
    settings = RouterSettings(**json.loads(arguments[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Requests make no cycles: collections would only add to the slowest answers.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    work = serve(settings, control, listener)
    if find_spec("uvloop") is not None:
        import uvloop

        uvloop.run(work)
    else:
        asyncio.run(work)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
