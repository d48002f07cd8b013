"""``kill -9`` at any instant: every event whose acceptance was acknowledged is still there."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from triptych.localcloud.events.outbox import Outbox
from triptych.localcloud.home import Home

ACCEPT = """
import sys
from triptych.localcloud.events.outbox import Outbox
from triptych.localcloud.home import Home

outbox = Outbox(Home(sys.argv[1]), "events")
for number in range(1_000_000):
    outbox.accept("default", {"id": number})
    print(number, flush=True)
"""


def test_acknowledged_events_survive(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    process = subprocess.Popen(
        [sys.executable, "-c", ACCEPT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(200)]
    process.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
    process.wait()
    process.stdout.close()
    kept = {event.body["id"] for event in Outbox(home, "events").unrouted(1_000_000)}
    assert set(acknowledged) <= kept
