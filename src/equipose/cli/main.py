"""``equipose VERB ...``: finds the verb, imports only what it needs, turns errors into messages and exit codes.

Exit codes: 0 done, 1 a check failed, 2 usage, 3 data, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from equipose.errors import DataError, EquiposeError, unknown_name


@dataclass(frozen=True)
class Verb:
    """A command and where its function is."""

    target: str
    help: str


VERBS: dict[str, Verb] = {
    "quickstart": Verb("quickstart:quickstart", "simulate, train with and without balance, explain: one page"),
    "simulate": Verb("simulate:simulate", "write a simulated data set in MM-Fi's own layout"),
    "simulate report": Verb("fidelity:report", "hold a simulated data set against real recordings: one page"),
    "data check": Verb("data:check", "find what is wrong in a data folder; never writes to it"),
    "data pack": Verb("data:pack", "turn a data folder into memory-mapped arrays"),
    "data prepare mars": Verb("prepare:prepare_mars", "turn the MARS radar recordings into a packed folder"),
    "corrupt": Verb("corrupt:corrupt", "write a corrupt copy of a data set, with a record of what is wrong where"),
    "train": Verb("train:train", "train a model on a data folder"),
    "resume": Verb("train:resume", "continue an interrupted run, exactly"),
    "evaluate": Verb("evaluate:evaluate", "measure a run on the test split, every subset of its sensors"),
    "contributions": Verb("evaluate:contributions", "measure what each sensor of a run contributes"),
    "report": Verb("report:report", "write the page that explains one or several runs"),
    "benchmark": Verb(
        "benchmark:benchmark", "compare methods over fusions, splits and seeds, all tuned alike: one page"
    ),
    "benchmark report": Verb("benchmark:report", "write the page and table of a benchmark again from its cells"),
    "continual": Verb(
        "continual:continual", "compare continual strategies on streams, clean and noisy, with their bounds: one page"
    ),
    "continual report": Verb("continual:report", "write the page and tables of such a comparison again from its cells"),
    "list": Verb("inspect:list_names", "list balance strategies, encoders, fusions, profits, corruptions, presets"),
    "describe": Verb("inspect:describe", "explain one of the names that `list` shows, with its settings"),
    "config": Verb("inspect:config", "print or check a recipe"),
    "info": Verb("inspect:info", "versions, devices and threads, for a bug report"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        code = _main(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()  # so that a reader that has gone is noticed here
        return code
    except BrokenPipeError:  # `equipose ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _main(words: list[str]) -> int:
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        print(f"equipose {version('equipose')}")
        return 0
    try:
        name, rest = _find(words)
        if name not in VERBS:
            print(_overview(name))
            return 0
        return _run(name, rest)
    except EquiposeError as error:
        if debug:
            raise
        print(f"equipose: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("equipose: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.strerror:
            print(f"equipose: {_system_error(error)}", file=sys.stderr)
            return DataError.exit_code
        if _out_of_memory(error):
            text = "not enough memory; try a smaller --batch-size, fewer points or frames, or a smaller model.width"
            print(f"equipose: {text} ({str(error).splitlines()[0] if str(error) else 'MemoryError'})", file=sys.stderr)
            return 1
        print(
            f"equipose: unexpected {type(error).__name__}: {error}\n"
            "This is a fault of the program. Run the command again with --debug to see where it happened.",
            file=sys.stderr,
        )
        return 1


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _system_error(error: OSError) -> str:
    """A file or folder that the system refused, and what to do about it."""
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in _FULL:
        return f"{where}{error.strerror}. The disk is full: make room and repeat the same command"
    return f"{where}{error.strerror}. Check that the folder exists and may be written to, or name another one"


def _out_of_memory(error: Exception) -> bool:
    """Whether the machine or the GPU had too little memory; torch tells the former by a plain RuntimeError."""
    text = str(error)
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def _find(words: list[str]) -> tuple[str, list[str]]:
    """The longest verb that the words begin with, and the words after it."""
    for length in (3, 2, 1):
        name = " ".join(words[:length])
        if name in VERBS and len(words) >= length:
            return name, words[length:]
    groups = {name.rsplit(" ", n)[0] for name in VERBS for n in (1, 2) if name.count(" ") >= n}
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in groups:
            rest = words[length:]
            if not rest or rest[0] in ("-h", "--help"):
                return name, []
            known = [verb.removeprefix(f"{name} ") for verb in VERBS if verb.startswith(f"{name} ")]
            raise unknown_name(f"`equipose {name}` command", rest[0], known, f"equipose {name} --help")
    known = [*{verb.split(" ")[0] for verb in VERBS}]
    raise unknown_name("command", words[0], known, "equipose --help")


def _run(name: str, words: list[str]) -> int:
    import tyro

    verb = VERBS[name]
    module, _, attribute = verb.target.partition(":")
    function: Callable[..., int] = getattr(import_module(f"equipose.cli.{module}"), attribute)
    try:
        config = (tyro.conf.PositionalRequiredArgs, tyro.conf.OmitArgPrefixes, tyro.conf.DisallowNone)
        with _one_voice():
            return tyro.cli(function, args=words, prog=f"equipose {name}", config=config)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2


@contextmanager
def _one_voice() -> Iterator[None]:
    """Of several processes that train together only the first one speaks; errors are printed by all."""
    if os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0":
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def _overview(group: str = "") -> str:
    chosen = {name: verb for name, verb in VERBS.items() if name.startswith(group)}
    width = max(len(name) for name in chosen)
    lines = [f"  {name:<{width}}  {verb.help}" for name, verb in chosen.items()]
    return "\n".join(
        [
            f"usage: equipose {group + ' ' if group else ''}COMMAND ...",
            "",
            "Balanced multi-modal 3D human pose: measure what each sensor contributes, and train so that every",
            "sensor counts.",
            "",
            *lines,
            "",
            "`equipose COMMAND --help` lists a command's options. `--debug` shows the traceback of an error.",
        ]
    )
