"""`python -m benchmarks [NAME …]`: run the side-by-side timings and keep them in benchmarks/results/."""

import argparse
import importlib
import sys

BENCHMARKS = (
    "trainers",
    "off_the_shelf",
    "anywhere",
    "norms",
    "instead",
    "scaling",
    "roofline",
    "evaluation",
    "driving",
    "td3",
    "stacked_td3",
    "pendulum",
)


def main(arguments: list[str] | None = None) -> int:
    """Run the named benchmarks, all by default; 1 if one falls short of its goal. `gpu` has options of its own."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        if words[:1] == ["gpu"]:
            from benchmarks import gpu

            return gpu.main(words[1:])
        return _timed(words)
    except KeyboardInterrupt:
        print("stopped; nothing more was written", file=sys.stderr)
        return 130


def _timed(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="example: python -m benchmarks trainers --rounds 5 --seconds 10; of a GPU: lnlab bench gpu --help",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; all of them by default"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="repetitions of each figure; the median counts (default 3)"
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="length of one measurement (default 6)")
    options = parser.parse_args(words)
    unknown = set(options.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; choose from {', '.join(BENCHMARKS)}")
    modules = (importlib.import_module(f"benchmarks.{name}") for name in options.names or BENCHMARKS)
    reached = [module.main(options.rounds, options.seconds) for module in modules]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
