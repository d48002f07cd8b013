"""The command line's grammar: wrong usage is told, help imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from triptych import cli
from triptych.place import Place

HEAVY = {"boto3", "botocore", "rich", "yaml", "moto", "duckdb", "numpy", "sagemaker", "awscli"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["run"], "use_case"),
        (["run", "flights", "--engine", "flink"], "invalid choice: 'flink'"),
        (["up", "--port", "eighty"], "'eighty' is not a port"),
        (["up", "--port", "70000"], "'70000' is not a port"),
        (["show"], "run"),
        (["run", "flights", "--deploy", "hope"], "invalid choice: 'hope'"),
        (["traffic", "--rate", "0"], "'0' is not a number above 0"),
        (["traffic", "--seconds", "soon"], "'soon' is not a number above 0"),
        (["rollback"], "endpoint"),
        (["demo", "joy"], "invalid choice: 'joy'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage_is_told(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == cli.EXIT_USAGE
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["status", "env", "runs", "show", "logs", "resume", "traffic", "rollback"]
)
def test_without_a_local_cloud_each_command_says_what_to_do(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [command, "--home", str(tmp_path / "home")]
    if command in ("show", "logs", "resume"):
        words.append("last")
    if command == "rollback":
        words.append("triptych-flights")
    assert cli.main(words) == 3
    printed = capsys.readouterr()
    assert "no local cloud runs" in printed.out + printed.err


def test_a_home_that_is_a_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "home").touch()
    assert cli.main(["up", "--home", str(tmp_path / "home")]) == 1
    assert "cannot be written: " in capsys.readouterr().err


def test_a_local_cloud_that_dies_under_a_command_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Place, "use_running_gateway", lambda self: setattr(self, "endpoint_url", "http://127.0.0.1:1")
    )
    assert cli.main(["show", "last", "--home", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "127.0.0.1:1" in told
    assert "triptych up" in told
    assert "Traceback" not in told


def test_down_twice_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["down", "--home", str(tmp_path)]) == 0
    assert "no local cloud runs" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from triptych import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "COMMAND" in done.stdout
    assert not HEAVY & set(eval(done.stderr))


def test_the_strategies_to_choose_from_are_the_contracts() -> None:
    from triptych.core.deployment import STRATEGIES

    assert cli.STRATEGIES == STRATEGIES
