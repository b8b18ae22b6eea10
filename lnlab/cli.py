"""The command line: `lnlab study quick`, `lnlab train norm=none`, `lnlab runs`, `lnlab report quick`, …

What a command needs is imported when it runs, so that `lnlab --help` answers at once.
"""

import argparse
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from lnlab import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from lnlab.runs import Run

ERROR, USAGE, INTERRUPTED, UNREAD = 1, 2, 130, 141  # exit codes besides 0; the last two as a shell gives a signal's
FIRST_STEPS = """first steps:
  lnlab compare env=CartPole-v1 core=ff norm=none,ln seeds=4 steps=5000    which arm is better? a minute or two
  lnlab study my.toml    train the runs of a study file
  lnlab COMMAND --help   options and examples of a command
in a clone of the repository:
  lnlab study smoke      does everything work here? about a minute
  lnlab study quick      train a first look at all arms
  lnlab report quick     build the report of it"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 wrong parameters, 130 stopped, 141 output unread.

    The last as in `lnlab train --help | head -1`, where the output is closed before all of it is written.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            return _run(words)
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()  # else the interpreter does when it ends, and prints what then goes wrong
    except OSError as error:  # of a stream: those of a command are answered already
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:  # must not be tried again when the interpreter ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if isinstance(error, BrokenPipeError):
            return UNREAD
        print(f"lnlab: the output cannot be written: {error.strerror}", file=sys.stderr)
        return ERROR


def _run(words: list[str]) -> int:
    free = words[1:] if words[:1] in (["train"], ["bench"]) else []  # argparse would not know their options
    options = _parser().parse_args(words[: len(words) - len(free)])
    command = COMMANDS[options.command]
    try:
        _find(command.needs)
        if (name := getattr(options, "profile", None)) is not None:  # it becomes a folder: it must not lead elsewhere
            from lnlab.config import parse

            parse({"profile": name})
        return command.run(options, free)
    except KeyboardInterrupt as stop:
        print(str(stop) or "stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except (MemoryError, OSError, RuntimeError, ValueError) as error:
        from lnlab.config import ConfigError

        wrong = isinstance(error, ConfigError)
        said = " ".join(str(error).split()) if wrong else str(error)  # what was given may hold line breaks
        print(f"lnlab {options.command}: {said or type(error).__name__}", file=sys.stderr)
        return USAGE if wrong else ERROR


def _find(needs: Sequence[str]) -> None:
    """Stop before any work where a command's files are missing: an installed package has none of them."""
    if not needs:
        return
    from lnlab.paths import CLONE, ROOT

    if missing := [name for name in needs if not CLONE or not (ROOT / name).exists()]:
        able = ", ".join(name for name, command in COMMANDS.items() if not command.needs)
        _refuse(
            f"works in a clone of the repository only, and {ROOT} is none that has {missing[0]}; "
            f"what an installed package can do: {able}"
        )


def _refuse(message: str) -> NoReturn:
    from lnlab.config import ConfigError

    raise ConfigError(message)


class _Parser(argparse.ArgumentParser):
    """Wrong words are answered in one line, not with the usage as well."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {' '.join(message.split())}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    about = "Controlled experiments on layer normalisation in reinforcement-learning agents."
    style = argparse.RawDescriptionHelpFormatter
    parser = _Parser("lnlab", description=about, epilog=FIRST_STEPS, formatter_class=style)
    parser.add_argument("--version", action="version", version=f"lnlab {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        epilog = "examples:\n" + "\n".join(f"  {line}" for line in command.examples)
        sub = subparsers.add_parser(
            name, help=command.help, description=command.help, epilog=epilog, formatter_class=style, allow_abbrev=False
        )
        for argument, given in command.arguments.items():
            sub.add_argument(argument, **given)
    return parser


def _from(least: int, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 11 and int(text) >= least):
        raise argparse.ArgumentTypeError(f"must be a number, {least} or more; got {text!r}")
    return int(text)


_positive, _whole = functools.partial(_from, 1), functools.partial(_from, 0)


def _share(text: str) -> tuple[int, int]:
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and len(text) < 12 and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError(f"must be I/N with I from 1 to N, such as 3/8; got {text!r}")
    return int(number), int(of)


def _seconds(text: str) -> float:
    number, unit = text[:-1], text[-1:]
    if not (number.replace(".", "", 1).isdecimal() and unit in "smh" and unit):
        raise argparse.ArgumentTypeError(f"must be a time such as 90s, 60m or 2h; got {text!r}")
    return float(number) * {"s": 1, "m": 60, "h": 3600}[unit]


class Command(NamedTuple):
    run: Callable[[argparse.Namespace, list[str]], int]
    help: str
    examples: tuple[str, ...]
    arguments: Mapping[str, Mapping[str, Any]]  # as argparse takes them
    needs: tuple[str, ...]  # files and folders of the repository


COMMANDS: dict[str, Command] = {}
PROFILES = "name in study.toml: smoke, quick, paper, driving"


def _given(metavar: str, help: str, **more: Any) -> dict[str, Any]:
    """An argument with a value, as argparse takes it."""
    return {"metavar": metavar, "help": help, **more}


def _switch(help: str) -> dict[str, Any]:
    return {"action": "store_true", "help": help}


def _command(
    help: str, *examples: str, arguments: Mapping[str, Mapping[str, Any]] | None = None, needs: tuple[str, ...] = ()
) -> Callable:
    """Enter a function `_name` among the commands as `name`."""

    def enter(run: Callable[[argparse.Namespace, list[str]], int]) -> Callable:
        COMMANDS[run.__name__[1:]] = Command(run, help, examples, arguments or {}, needs)
        return run

    return enter


CHOSEN: dict[str, Mapping[str, Any]] = {  # which runs of which study
    "study": _given("PROFILE|FILE.toml", f"{PROFILES}; or a study file of your own"),
    "profile": _given("PROFILE", "name in FILE.toml; not needed if it has one profile", nargs="?"),
    "--jobs": _given("N", "runs side by side (default: one for each core)", type=_positive),
    "--only": _given("PATTERN", "only the runs whose id matches, such as 'a3c-*-ln'"),
}
ENGINES: dict[str, Mapping[str, Any]] = {
    "--on": {"choices": ["local", "ray", "slurm"], "default": "local", "help": "what trains (default: local)"},
    "--allow-mixed": _switch("also on machines with other code or versions: bits may differ"),
    "--gpus": _given("N", "ray, slurm: GPUs of a block of seeds (default: none)", type=_positive),
    "--address": _given("HOST:PORT", "ray: the head of the cluster (default: this node's cluster)"),
    "--time": _given("TIME", "slurm: limit of a job, such as 90m (default: 1h)", type=_seconds),
    "--partition": _given("NAME", "slurm: where jobs wait (default: the cluster's own)"),
    "--cluster": {"choices": ["slurm", "local"], "help": "slurm; local tries the same on this machine, without it"},
}


@_command(
    "train the runs of a profile: those that are missing, stopped or failed",
    "lnlab study quick",
    "lnlab study paper --only 'a3c-*' --jobs 4",
    "lnlab study paper --list",
    "lnlab study paper --on ray --address head:6379",
    "lnlab study paper --on slurm --time 2h",
    "lnlab study paper --shard 3/8   one of eight jobs; then: lnlab gather paper",
    "lnlab study my.toml             a study file of your own; its runs go into results/ beside it",
    "lnlab study my.toml long        one of its profiles, if it has several",
    arguments={
        **CHOSEN,
        "--list": _switch("show the runs and how far they are; train nothing"),
        "--watch": _switch("show where each block of seeds is trained and how far it is; train nothing"),
        "--shard": _given("I/N", "train share I of N, as a job of an array; then gather", type=_share),
        **ENGINES,
    },
)
def _study(options: argparse.Namespace, _: list[str]) -> int:
    from lnlab.paths import results_of
    from lnlab.study import execute, expand, select, train_share

    file, profile = _profile(options.study, options.profile)
    again = " ".join(["lnlab study", options.study, *([options.profile] if options.profile else [])])
    if options.list or options.watch:
        from lnlab.executors.watch import watch
        from lnlab.runs import Run

        runs = [Run.at(config, results_of(file)) for config in select(expand(profile, file), options.only)]
        if options.list:
            _print_runs(runs)
        else:
            watch(runs, clear=sys.stdout.isatty())
        return 0
    engine = _engine(options)
    try:
        shared = {"study": file, "mixed": options.allow_mixed}
        if options.shard:
            failed = train_share(profile, options.shard, options.jobs, options.only, **shared)
        else:
            gpus = bool(options.gpus)
            failed = execute(profile, options.jobs, options.only, engine=engine, gpus=gpus, **shared)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; go on from the checkpoints with: {again}") from None
    if failed:
        print(f"failed: {', '.join(failed)}; to try again: {again}", file=sys.stderr)
        return ERROR
    if options.shard:
        print(f"share done; when all are: {again.replace('study', 'gather', 1)}")
        return 0
    yours = options.study != profile
    print(f"all done: {results_of(file) / profile}" if yours else f"all done; the report: lnlab report {profile}")
    return 0


def _engine(options: argparse.Namespace) -> "Callable[[Path], Any] | None":
    """What makes the engine of --on, once it is known where its own files may lie; None for this machine."""
    own = {"ray": ("address", "gpus"), "slurm": ("time", "partition", "cluster", "gpus"), "local": ("shard",)}
    for name in ("address", "gpus", "time", "partition", "cluster", "shard"):
        if getattr(options, name, None) and name not in own[options.on]:
            takes = " or ".join(f"--on {each}" for each, names in own.items() if name in names)
            _refuse(f"--{name} belongs to {takes}, not to --on {options.on}")
    if options.on == "ray":
        from lnlab.executors.ray import Ray

        return lambda _: Ray(options.address or "auto", gpus=options.gpus or 0)
    if options.on == "slurm":
        from lnlab.executors.slurm import Slurm

        limit, where = (options.time or 3600) / 60, {"partition": options.partition or ""}
        cluster = options.cluster or "slurm"
        return lambda folder: Slurm(folder, minutes=limit, gpus=options.gpus or 0, cluster=cluster, **where)
    return None


def _profile(study: str, profile: str | None) -> "tuple[Path, str]":
    """The file and the profile that are meant by PROFILE, FILE.toml, or FILE.toml PROFILE."""
    from pathlib import Path

    from lnlab.paths import STUDY
    from lnlab.study import profiles

    if not study.endswith(".toml"):
        if profile:
            _refuse(f"two profiles are named, {study!r} and {profile!r}; give one, or a FILE.toml before it")
        return STUDY, study
    file = Path(study).absolute()
    names = list(profiles(file))
    if not profile and len(names) > 1:
        _refuse(f"{study} has several profiles; name one: lnlab study {study} {names[0]} (or {', '.join(names[1:])})")
    return file, profile or names[0]


@_command(
    "make tables and pages of the runs whose blocks of seeds were trained elsewhere",
    "lnlab gather quick",
    arguments=CHOSEN,
)
def _gather(options: argparse.Namespace, _: list[str]) -> int:
    from lnlab.study import execute

    file, profile = _profile(options.study, options.profile)
    if left := execute(profile, options.jobs, options.only, study=file, gather=True):
        print(
            f"not complete: {', '.join(left)}; how far they are: lnlab study {options.study} --watch", file=sys.stderr
        )
        return ERROR
    print(f"all {profile} runs are complete")
    return 0


@_command(
    "train one run over all its seeds, into results/scratch",
    "lnlab train norm=none seeds=3",
    "lnlab train --algorithm individual --core ff --lr 3e-4",
    "lnlab train env=CartPole-v1 norm=none core=ff steps=300000",
    "lnlab train algorithm=td3 norm=none actor_features=detached batch_size=32",
    "lnlab train --help",
)
def _train(_: argparse.Namespace, words: list[str]) -> int:
    if {"-h", "--help"} & set(words):
        print(_train_help())
        return 0
    from lnlab.config import parse

    config = parse(settings(words))
    from lnlab.inside import run

    print(f"complete: {run(config).dir}")
    return 0


def settings(words: Sequence[str]) -> dict[str, str]:
    """Settings from `name=value`, `--name value`, `--name=value`; a lone `--name` stands for true.

    Raises:
        ConfigError: a word is none of these, a name is given twice, or one that is no switch stands alone.

    >>> settings(["norm=none", "--lr", "1e-3", "--gradient-carry"])
    {'norm': 'none', 'lr': '1e-3', 'gradient_carry': 'true'}
    """
    from lnlab.config import GymConfig, RunConfig, TD3Config

    fields = TD3Config.model_fields | GymConfig.model_fields | RunConfig.model_fields
    found, left = dict[str, str](), list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        if not equals:
            if not word.startswith("--"):
                _refuse(f"cannot read {word!r}; write NAME=VALUE or --NAME VALUE, such as norm=ln")
            if left and not left[0].startswith("--") and "=" not in left[0]:
                value = left.pop(0)
            elif name in fields and fields[name].annotation is not bool:  # else `--norm` would pass for the norm 'true'
                _refuse(f"--{name} has no value; write --{name} {fields[name].default}")
            else:
                value = "true"
        if name in found:
            _refuse(f"{name} is given twice: {found[name]!r} and {value!r}")
        found[name] = value
    return found


def _train_help() -> str:
    """All settings with their defaults; made from the same classes that check them."""
    from lnlab.config import ActorCriticConfig, GymConfig, RunConfig, Settings, TD3Config

    lines = ["usage: lnlab train [NAME=VALUE | --NAME VALUE] ...", "", COMMANDS["train"].help]
    shared = [name for name, field in Settings.model_fields.items() if not field.is_required()]
    groups: dict[str, tuple[Any, Any]] = {
        "a3c and individual": (ActorCriticConfig, Settings),
        "a3c and individual in lnlab/Offloading-v0, the environment unless another is named": (
            RunConfig,
            ActorCriticConfig,
        ),
        "a3c and individual in any other environment": (GymConfig, ActorCriticConfig),
        "td3 and ddpg": (TD3Config, Settings),
    }
    for title, (cls, base) in groups.items():
        told = {name: field.description for name, field in base.model_fields.items()}
        own = [name for name in cls.names() if cls.model_fields[name].description != told.get(name)]
        lines += ["", f"settings of {title}, and their defaults:", *_settings(cls, own)]
    lines += ["", "settings of all of them, and their defaults:", *_settings(Settings, shared)]
    return "\n".join([*lines, "", "examples:", *(f"  {line}" for line in COMMANDS["train"].examples)])


def _settings(cls: Any, names: Iterable[str]) -> list[str]:
    from lnlab.config import limits

    lines = []
    for name, field in ((name, cls.model_fields[name]) for name in names):
        values = ", ".join(map(str, getattr(field.annotation, "__args__", ())))
        meaning = f"{values}: {field.description}" if values else field.description
        lines.append(f"  {f'{name}={field.default}':28}{meaning}{f' ({bounds})' if (bounds := limits(field)) else ''}")
    return lines


@_command(
    "list the runs, how far they are and how fast they went",
    "lnlab runs",
    "lnlab runs quick",
    "lnlab runs --check",
    arguments={
        "profile": _given("PROFILE", "folder under results/ (default: all)", nargs="?"),
        "--check": _switch("name every file that is not what was written"),
        "--failed": _switch("only the runs that failed, with the last lines of their logs"),
    },
)
def _runs(options: argparse.Namespace, _: list[str]) -> int:
    from lnlab.paths import CLONE, RESULTS
    from lnlab.runs import load, run_folders

    profiles = [options.profile] if options.profile else [each.name for each in sorted(RESULTS.glob("[!.]*"))]
    studies = {name: load(RESULTS / name).runs for name in profiles if options.profile or run_folders(RESULTS / name)}
    if not studies:
        print(f"no runs in {RESULTS}; train some with: lnlab {'study smoke' if CLONE else 'train'}")
    if options.check:
        return max((_check(run) for runs in studies.values() for run in runs), default=0)
    for profile, runs in studies.items():
        chosen = [run for run in runs if run.status == "failed"] if options.failed else runs
        print(f"{profile}:" if chosen or not options.failed else f"{profile}: no run failed")
        if chosen or not options.failed:
            _print_runs(chosen)
        for run in chosen if options.failed else []:
            _print_logs(run)
    return 0


def _print_logs(run: "Run") -> None:
    from lnlab.jobs import last_lines

    print(f"\n{run.id}: {run.provenance.get('error')}")
    for log in (run.dir / "log.txt", *sorted(run.dir.glob("shards/*/log.txt"))):
        if said := last_lines(log):
            print(f"{log}:\n{said}")


def _check(run: "Run") -> int:
    """Say what is wrong with the files of a run; 1 if something is."""
    if run.status == "running":
        print(f"{run.dir} is being trained: not checked")
        return 0
    if found := run.damage() or [line for shard in run.shards for line in shard.damage()]:
        print(*found, sep="\n")
        return ERROR
    print(f"{run.dir} is whole")
    return 0


def _print_runs(runs: Sequence["Run"]) -> None:
    line = "  {:36}{:>10}{:>8}{:>7}{:>10}{:>12}".format
    print(line("run", "status", "done", "seeds", "steps", "steps/s"))
    for run in runs:
        if not run.begun:
            print(line(run.id, "new", "", "", "", ""))
            continue
        try:
            config, facts = run.config, run.provenance
            speed, others = facts.get("steps_per_second"), "other versions" if facts.get("other_versions") else ""
            share = f"{min(1.0, run.reports_done / (config.seeds * config.reports)):.0%}"
            steps = f"{config.reports * config.steps_per_report:,}"  # of a seed
            ends = ", ".join(f"{each['from']:,} {each['setting']}" for each in facts.get("continued", []))
        except (OSError, ValueError) as error:
            print(f"{line(run.id, 'damaged', '', '', '', '').rstrip()}  {error}")
            continue
        told = line(run.id, run.status, share, config.seeds, steps, f"{speed:,.0f}" if speed else "")
        print(f"{told}  {'; '.join(each for each in (ends and f'continued from {ends}', others) if each)}".rstrip())


@_command(
    "build the report of a profile into _build/",
    "lnlab report quick",
    needs=("book", "notebooks"),
    arguments={"profile": _given("PROFILE", PROFILES)},
)
def _report(options: argparse.Namespace, _: list[str]) -> int:
    from lnlab.book.needs import complete
    from lnlab.paths import RESULTS

    complete(RESULTS / options.profile)  # without a complete run refused at once: what builds takes seconds to load
    from lnlab.book.build import build

    build(options.profile)
    return 0


@_command(
    "for maintainers: put a profile's tables and pages into book/",
    "lnlab publish paper",
    "lnlab publish paper --data-only",
    "lnlab publish --digests",
    needs=("book", "notebooks"),
    arguments={
        "profile": _given("PROFILE", "folder under results/", nargs="?"),
        "--data-only": _switch("leave the executed pages of the book as they are"),
        "--allow-dirty": _switch("also runs that no single commit can reproduce"),
        "--digests": _switch("only list anew what the book holds, book/digests.txt"),
    },
)
def _publish(options: argparse.Namespace, _: list[str]) -> int:
    from lnlab import digests
    from lnlab.paths import PUBLISHED, RESULTS
    from lnlab.runs import publish

    if (options.profile is None) != options.digests:
        _refuse("give the PROFILE to publish, or --digests alone")
    if options.profile:
        copied = publish(RESULTS / options.profile, PUBLISHED / options.profile, allow_dirty=options.allow_dirty)
        print(f"{len(copied)} runs copied to {PUBLISHED / options.profile}")
    if options.profile and not options.data_only:
        from lnlab.book.build import publish_pages

        publish_pages(options.profile)
    print(f"{digests.write(PUBLISHED.parent)} files listed in {PUBLISHED.parent / digests.LIST}")
    return 0


@_command(
    "which arm is better? trains what is missing and answers, or takes the scores of other people's runs",
    "lnlab compare env=CartPole-v1 norm=none,ln lr=3e-4,1e-3,3e-3 seeds=10 steps=100000",
    "lnlab compare env=CartPole-v1 norm=none,ln seeds=40 steps=100000 --until decided --budget 60m",
    "lnlab compare scores.csv --against baseline --margin 5",
    "lnlab compare monitors/          (ARM/SEED/monitor.csv of Stable-Baselines3)",
    arguments={
        "question": _given(
            "NAME=VALUES|FILE",
            "settings of `lnlab train`, some with several values; or scores: a CSV file, or monitor files",
            nargs="+",
        ),
        "--against": _given("ARM", "the arm that others are compared with (default: none, or the first)", default=""),
        "--margin": _given("X", "largest difference that does not matter, in units of the score", type=float),
        "--failed-below": _given("X", "a seed with a lower score failed", type=float),
        "--until": {"choices": ["decided"], "help": "look after each ten seeds, and stop where the answer is clear"},
        "--budget": _given("TIME", "such as 90s, 60m, 2h: no more seeds that would take longer", type=_seconds),
        "--out": _given("FOLDER", "where the page goes (default: comparisons/ and a name)"),
        **ENGINES,
    },
)
def _compare(options: argparse.Namespace, _: list[str]) -> int:
    from pathlib import Path

    from lnlab.compare.page import answer

    words = options.question
    question = Path(words[0]) if len(words) == 1 and "=" not in words[0] else settings(words)
    asked = ("against", "margin", "failed_below", "until", "budget", "out")
    away = None
    if make := _engine(options):
        from lnlab.paths import RESULTS
        from lnlab.study import train_on

        engine = make(RESULTS / ".engine")
        away = functools.partial(train_on, engine, gpus=bool(options.gpus), mixed=options.allow_mixed)
    print(answer(question, **{name: getattr(options, name) for name in asked}, away=away))
    return 0


@_command(
    "judge the claims of your own paper on runs or scores: verdicts with intervals, and a page",
    "lnlab judge claims.yml results/quick",
    "lnlab judge claims.yml scores.csv --out verdicts",
    "lnlab judge --example       (five claims and their scores to start from)",
    arguments={
        "claims": _given("CLAIMS.yml", "what the paper says, with rows of evidence", nargs="?"),
        "results": _given(
            "RESULTS", "folder of runs or of one run, or scores as `lnlab compare` takes them", nargs="?"
        ),
        "--out": _given("FOLDER", "where the page goes (default: judged/ and a name)"),
        "--example": _switch("put the worked example into a folder (default: judge-example) and judge it"),
    },
)
def _judge(options: argparse.Namespace, _: list[str]) -> int:
    from pathlib import Path

    from lnlab.compare import judged

    if options.example != (options.claims is None) or (options.results is None) != (options.claims is None):
        _refuse("give CLAIMS.yml and RESULTS, or --example alone")
    if options.example:
        print(judged.example(options.out))
    else:
        print(judged.answer(Path(options.claims), Path(options.results), out=options.out))
    return 0


@_command(
    "let a trained policy play: return and length of each episode, and a film of them",
    "lnlab play a3c-gru-ln",
    "lnlab play results/scratch/a3c-ff-none-CartPole-v1 --seed 2 --episodes 20",
    "lnlab play quick/a3c-gru-ln --video offloading.mp4 --episodes 1",
    "lnlab play 'driving-goal/*norm-critic*lr3e-4*' --video drive.mp4 --episodes 1",
    arguments={
        "run": _given("RUN", "a run's folder, or its id, PROFILE/ID or a pattern of it, below results/ or published"),
        "--seed": _given("N", "of the seeds that were trained (default: the first)", type=_whole),
        "--worker": _given(
            "N", "of Individual: whose model; offloading: whose speed (default: 0)", type=_whole, default=0
        ),
        "--episodes": _given("N", "how many (default: 5)", type=_positive, default=5),
        "--sampled": _switch("draw the actions from the policy; else the greedy ones"),
        "--video": _given("FILE", "film them: out.mp4 or out.gif"),
        "--render": _switch("show them in a window, or as text where there is none"),
    },
)
def _play(options: argparse.Namespace, _: list[str]) -> int:
    from pathlib import Path

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # products of one observation are small: threads would wait
    from lnlab.play import find, play, trained

    if options.video and options.render:
        _refuse("give --video or --render, not both")
    video = Path(options.video) if options.video else None
    try:
        policy = trained(find(options.run), options.seed, options.worker)
        found = play(policy, options.episodes, sampled=options.sampled, video=video, render=options.render)
    except (FileNotFoundError, ValueError) as error:
        _refuse(str(error))
    score, length = (sum(each) / len(found) for each in zip(*found, strict=True))
    kind = f"{'sampled' if options.sampled else 'greedy'} episode{'s' * (len(found) > 1)} of seed {policy.seed}"
    print(f"mean of {len(found)} {kind}: return {score:.6g}, {length:.6g} steps")
    if video:
        print(f"film: {video}")
    return 0


@_command(
    "look a network over for known faults of normalisation, without training",
    "lnlab doctor results/scratch/td3-none-leaky-b32",
    "lnlab doctor my_agent.py:make_net --expect-norm",
    "lnlab doctor package.agents:critic --observations obs.npy --actions act.npy",
    "lnlab doctor ppo_cartpole.zip    (of Stable-Baselines3)",
    arguments={
        "where": _given(
            "RUN|MODULE",
            "a run by its folder or id; FILE.py:NAME or PACKAGE:NAME of a torch module or what makes one; or a "
            ".zip of Stable-Baselines3",
        ),
        "--seed": _given("N", "of a run, whose learner (default: the first)", type=int),
        "--observations": _given("FILE.npy", "(B, …) such as it meets (default: a run's own, or made up)"),
        "--actions": _given("FILE.npy", "(B, A), for a module that takes actions"),
        "--expect-norm": _switch("its settings ask for a norm (of a run they are known)"),
    },
)
def _doctor(options: argparse.Namespace, _: list[str]) -> int:
    from pathlib import Path

    from lnlab import doctor

    of_run = Path(options.where).is_dir() or not (":" in options.where or options.where.endswith(".zip"))
    if of_run and (options.observations or options.actions):
        _refuse("a run is examined on observations of its own environment: leave out --observations and --actions")
    if not of_run and options.seed is not None:
        _refuse("--seed names the learner of a run")
    try:
        if of_run:
            from lnlab.patient import patient
            from lnlab.play import find

            module, observations, expected = patient(find(options.where), options.seed)
        else:
            module, expected = doctor.load(options.where), options.expect_norm
            given = options.observations
            observations = doctor.array(given) if given else doctor.observations_for(module)
        actions = doctor.array(options.actions) if options.actions else None
        found = doctor.examine(module, observations, actions, expects_norm=expected)
    except ValueError as error:
        more = "; of a module write package.module:name or path/to/file.py:name" if ".py" in options.where else ""
        _refuse(f"{error}{more if of_run else ''}")
    print(*found, f"{options.where}: {len(found) or 'nothing'} found", sep="\n\n")
    return ERROR if found else 0


@_command(
    "time training against a plain implementation and other peers; options are those of the benchmarks",
    "lnlab bench",
    "lnlab bench gpu              on a machine with a GPU: agreement, speed, limits; six minutes",
    "lnlab bench --help",
    needs=("benchmarks",),
)
def _bench(_: argparse.Namespace, words: list[str]) -> int:
    from lnlab.paths import ROOT

    return subprocess.run([sys.executable, "-m", "benchmarks", *words], cwd=ROOT).returncode
