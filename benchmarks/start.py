"""`python -m benchmarks.start`: seconds from the shell to the answer of `perennial --help` and `perennial status`.

Printed beside a bare `python -c pass` of the same run, so that a slow machine shows. Goal: 0.7 s.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "perennial --help": ["-m", "console.cli", "--help"],
    "perennial status": ["-m", "console.cli", "status"],
}
GOAL = 0.7


def seconds(arguments: list[str], environment: dict[str, str]) -> float:
    """Wall seconds of one Python process.

    Raises:
        CalledProcessError: it failed.
    """
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)
    return time.perf_counter() - begin


def main() -> None:
    """Time each command in turn, several rounds, and print medians and ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="rounds; the first is not counted")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as project:
        environment = {**os.environ, "PERENNIAL_PROJECT": project}
        taken = {name: list[float]() for name in COMMANDS}
        for number in range(rounds + 1):
            for name, arguments in COMMANDS.items():
                once = seconds(arguments, environment)
                if number:
                    taken[name].append(once)
    bare = statistics.median(taken["python -c pass"])
    for name, times in taken.items():
        middle = statistics.median(times)
        print(f"{name:<18} median {middle:.2f} s (min {min(times):.2f}, max {max(times):.2f}), {middle / bare:.1f} x bare Python")
    print(f"goal {GOAL} s: {'met' if all(statistics.median(times) <= GOAL for times in taken.values()) else 'not met'}")


if __name__ == "__main__":
    main()
