"""What is over stays over: data that has stopped to come sets no alarm off while it slides out of the windows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cloudwatch.alarm_world import AlarmWorld


@pytest.mark.parametrize("treat", ["notBreaching", "missing", "ignore"])
def test_an_alarm_that_recovered_before_the_data_stopped_stays_recovered(tmp_path: Path, treat: str) -> None:
    world = AlarmWorld(tmp_path / "home")
    world.alarm(Statistic="Average", Threshold=4.0, TreatMissingData=treat)
    for value in [9.0] * 5 + [0.0] * 5 + [None] * 60:
        world.skip(1)
        if value is not None:
            world.put(value, seconds_ago=0.5)
        world.tick()
    assert "OK" in world.states()
    assert world.states().count("ALARM") == 1
