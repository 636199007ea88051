"""
The same races on well-known session libraries and on sessioncore.

    make races
    .venv/bin/python -m benchmarks.races [--trials N]

Prints two tables in Markdown. Fails if a race had different outcomes in different
trials: it would not be the race that it is said to be.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.races.entrants import AT_DEFAULTS, WITH_SETTINGS
from benchmarks.races.races import RACES, measure
from benchmarks.races.report import header, legend, row, versions
from benchmarks.races.server import running_server


def main() -> int:
    """
    Run everything, and say what came of it.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.races")
    parser.add_argument("--trials", type=int, default=20, help="how often each race is run")
    trials: int = parser.parse_args().trials
    certain = True
    with running_server() as server:
        print(versions(server.version), end="\n\n")
        for title, entrants in (("At defaults", AT_DEFAULTS), ("Other settings", WITH_SETTINGS)):
            print(f"{title}, {trials} trials each:\n", *header(), sep="\n")
            for entrant in entrants:
                with entrant.opened_on(server) as peer:
                    results = {race.key: measure(peer, race, trials) for race in RACES}
                certain = certain and all(result.is_certain for result in results.values())
                print(row(entrant.name, results), flush=True)
            print()
    print(*legend(), sep="\n")
    return 0 if certain else 1


if __name__ == "__main__":
    sys.exit(main())
