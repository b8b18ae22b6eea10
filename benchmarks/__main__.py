"""`python -m benchmarks [NAME …]`: run the side-by-side timings and keep them in benchmarks/results/."""

import argparse
import sys

from benchmarks import (
    anywhere,
    driving,
    evaluation,
    norms,
    off_the_shelf,
    pendulum,
    roofline,
    scaling,
    stacked_td3,
    td3,
    trainers,
)

BENCHMARKS = {
    "trainers": trainers.main,
    "off_the_shelf": off_the_shelf.main,
    "anywhere": anywhere.main,
    "norms": norms.main,
    "scaling": scaling.main,
    "roofline": roofline.main,
    "evaluation": evaluation.main,
    "driving": driving.main,
    "td3": td3.main,
    "stacked_td3": stacked_td3.main,
    "pendulum": pendulum.main,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the named benchmarks, all by default; 1 if one falls short of its goal."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="example: python -m benchmarks trainers --rounds 5 --seconds 10",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; all of them by default"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="repetitions of each figure; the median counts (default 3)"
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="length of one measurement (default 6)")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; choose from {', '.join(BENCHMARKS)}")
    reached = [BENCHMARKS[name](options.rounds, options.seconds) for name in options.names or BENCHMARKS]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
