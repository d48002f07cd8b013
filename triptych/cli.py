"""The ``triptych`` command: parsing only. What a command does is imported when it runs; help is instant."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from triptych import __version__

STRATEGIES = ("all_at_once", "blue_green", "canary", "linear", "rolling", "ab", "shadow")
"""The contract's deployment strategies; spelled out here, since help must not read the contract"""

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

_EPILOG = """\
exit codes: 0 done; 1 the run or the command failed; 2 wrong usage; 3 nothing is running or deployed here;
4 the data or the model was rejected, or the deployment rolled back; 130 interrupted
"""


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    root = argparse.ArgumentParser(
        prog="triptych",
        description="Three chained Step Functions state machines for ML, run whole on this machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"triptych {__version__}")
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, text: str, module: str, *, cloud: bool = False) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.set_defaults(module=module)
        sub.add_argument("--home", type=Path, help="the home folder (default: TRIPTYCH_HOME, else .triptych)")
        sub.add_argument("--json", action="store_true", help="print JSON for machines")
        if cloud:
            sub.add_argument(
                "--port", type=_port, help="the local cloud's port (default: the last one, else 4599)"
            )
            sub.add_argument(
                "--engine", choices=("duckdb", "spark"), help="what Glue jobs run on (default: duckdb)"
            )
        return sub

    up = command("up", "start the local cloud and deploy the stacks into it", "cloud", cloud=True)
    up.add_argument("use_case", nargs="?", default="flights", help="a folder of usecases/ (default: flights)")
    command("down", "stop the local cloud; everything is kept", "cloud")
    command("status", "say whether the local cloud runs, where, and what is deployed", "cloud")
    command("env", "print the exports that point any AWS client at the local cloud", "cloud")

    run = command("run", "run the whole pipeline and watch it", "run", cloud=True)
    run.add_argument("use_case", help="a folder of usecases/, e.g. flights")
    run.add_argument("--if-new", action="store_true", help="end early when no source object changed")
    run.add_argument("--beside", action="store_true", help="start although another run is going on")
    run.add_argument("--name", help="the run's name (default: made from the time)")
    run.add_argument("--no-follow", action="store_true", help="start it and return at once")
    run.add_argument(
        "--deploy",
        choices=STRATEGIES,
        help="how traffic goes over to the new model (default: the contract's)",
    )

    runs = command("runs", "list the runs", "runs")
    runs.add_argument("--use-case", default="flights")
    runs.add_argument("--limit", type=int, default=20, help="how many, newest first (default: 20)")
    show = command("show", "show one run: its states, and its results or what went wrong", "runs")
    logs = command("logs", "print what a run's functions and jobs wrote", "runs")
    resume = command("resume", "go on with a run from the state that failed", "runs")
    for sub in (show, logs, resume):
        sub.add_argument("run", help="a run's name, or 'last'")
        sub.add_argument("--use-case", default="flights")
    logs.add_argument("state", nargs="?", help="only this state, e.g. 'Clean data'")

    traffic = command("traffic", "send real rows to the endpoint and judge every answer", "deployments")
    traffic.add_argument("use_case", nargs="?", default="flights")
    traffic.add_argument("--endpoint", help="another endpoint than the use case's own")
    traffic.add_argument("--rate", type=_positive, default=20.0, help="requests a second (default: 20)")
    traffic.add_argument("--seconds", type=_positive, help="for how long (default: until Ctrl-C)")
    traffic.add_argument(
        "--rows", type=int, default=2000, help="how many of the test split's rows (default: 2000)"
    )
    traffic.add_argument(
        "--labels", action="store_true", help="also send the labels, and the error as a metric"
    )
    rollback = command("rollback", "put back what an endpoint served before", "deployments")
    rollback.add_argument("endpoint", help="the endpoint's name")
    rollback.add_argument(
        "--to", metavar="CONFIG", help="an endpoint configuration (default: the one before)"
    )
    rollback.add_argument("--reason", help="why, for the notification and the rejected model package")
    rollback.add_argument("--use-case", default="flights", help="whose operators are told (default: flights)")
    demo = command(
        "demo", "show what a deployment does with bad models, under load", "deployments", cloud=True
    )
    demo.add_argument(
        "what", choices=("rollback",), help="rollback: alarms take two bad models out of production"
    )
    demo.add_argument("--use-case", default="flights")
    demo.add_argument("--model", choices=("errors", "slow"), help="only this one of the bad models")
    demo.add_argument(
        "--deploy",
        choices=("canary", "linear", "blue_green", "rolling"),
        default="canary",
        help="(default: canary)",
    )

    for sub in (runs, show, logs, resume, run, traffic, rollback):
        sub.add_argument("--aws", action="store_true", help="use the ambient AWS credentials and endpoint")
        sub.add_argument(
            "--env", default=None, help="the deployed environment (default: local; dev with --aws)"
        )
    return root


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return number


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port (0 to 65535; 0 takes any free one)")
    return port


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        # a terminal or a file that cannot hold a mark gets a question mark, not a traceback
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    arguments = parser().parse_args(argv)
    from importlib import import_module

    from triptych.place import CommandFailed, Place, default_home, find_project

    try:
        project = find_project()
        aws = getattr(arguments, "aws", False)
        place = Place(
            project=project,
            home=arguments.home.absolute() if arguments.home else default_home(project),
            environment=getattr(arguments, "env", None) or ("dev" if aws else "local"),
            aws=aws,
            port=getattr(arguments, "port", None),
            glue_engine=getattr(arguments, "engine", None),
            flags=_place_flags(arguments),
        )
        function = getattr(import_module(f"triptych.commands.{arguments.module}"), arguments.command)
        code = function(place, arguments)
        return int(code or 0)
    except CommandFailed as error:
        print(f"triptych {arguments.command}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"\ntriptych {arguments.command}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_FAILED
    except Exception as error:
        if aws and _is_of_botocore(error, "BotoCoreError", "ClientError"):
            print(f"triptych {arguments.command}: AWS: {error}", file=sys.stderr)
            return EXIT_FAILED
        if not _is_of_botocore(error, "ConnectionError", "HTTPClientError"):
            raise
        advice = "" if aws else "; it was stopped or killed. `triptych up` starts it: what ran goes on"
        print(f"triptych {arguments.command}: {error}{advice}", file=sys.stderr)
        return EXIT_FAILED


def _place_flags(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The options of this command line that say where it works."""
    flags: list[str] = []
    if arguments.home:
        flags += ["--home", str(arguments.home)]
    if getattr(arguments, "aws", False):
        flags.append("--aws")
    if getattr(arguments, "env", None):
        flags += ["--env", arguments.env]
    return tuple(flags)


def _is_of_botocore(error: Exception, *names: str) -> bool:
    """Whether it is one of botocore's errors, which is imported if its error is here, and slow to import if not."""
    exceptions = sys.modules.get("botocore.exceptions")
    return exceptions is not None and isinstance(error, tuple(getattr(exceptions, name) for name in names))


if __name__ == "__main__":
    sys.exit(main())
