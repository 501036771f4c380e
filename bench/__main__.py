"""The command line of the benchmark: ``python -m bench --help`` lists its commands."""

import sys
from importlib import import_module

PROGRAM = "python -m bench"
# Each module has a ``main`` that reads ``sys.argv``; it is imported when it is asked for.
COMMANDS = {
    "plan": ("bench.planning.plan", "what a configuration takes: jobs, hours, memory, disk"),
    "calibrate": ("bench.tools.calibrate", "how fast this machine trains, for the plan: a minute"),
    "read": ("bench.documents", "whether files of a configuration can be read"),
    "collect": ("bench.stages.collect", "all tables, of the records that there are"),
    "report": ("bench.tools.report", "tables, figures and page, of the records that there are"),
    "check": ("bench.tools.check", "whether records, of here or from elsewhere, are in order"),
    "verify": ("bench.tools.verify", "a random few cells of a submission, run again here"),
    "export": (
        "bench.tools.export",
        "a cell's sparse model as a folder; all results in others' formats",
    ),
    "inference": ("bench.tools.inference", "what a cell's zeros are worth: bytes and tokens/s"),
    "timing": ("bench.tools.timing", "what share of each stage was start-up, loading, computing"),
    "job": ("bench.tools.job", "run one job of the workflow by hand, where a debugger can follow"),
    "pin": ("bench.tools.pin", "a repository of the hub as an entry of a configuration"),
    "profile": ("bench.tools.profile", "memory and time of each repair's training, side by side"),
    "reference": ("bench.tools.reference", "write config/README.md and the schema anew"),
}


def usage() -> str:
    """What the commands are, a line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    head = f"usage: {PROGRAM} <command> ...\n\nCommands; each has a --help of its own:\n"
    return "\n".join([head, *lines])


def main() -> None:
    command, *arguments = sys.argv[1:] or ["--help"]
    if command in ("-h", "--help"):
        print(usage())
        return
    if command not in COMMANDS:
        sys.exit(f"{PROGRAM}: {command!r}: no such command; allowed: {', '.join(COMMANDS)}")
    sys.argv = [f"{PROGRAM} {command}", *arguments]
    import_module(COMMANDS[command][0]).main()


if __name__ == "__main__":
    main()
