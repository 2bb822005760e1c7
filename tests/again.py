"""Run tests of whole clusters once more, alone, that failed while others ran beside them.

Three processes of tests share two cores with the clusters, servers and browsers that they start.  A
wait in such a test may then be too short.  What fails alone, too, is broken, and so is whatever fails
elsewhere.  A test that needs a second try is named: it is to be mended.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

# Rooms whose tests wait for other processes.
ROOMS = ("tests/display/", "tests/integration/", "tests/prefect/")
MOST = 3  # more at once are no matter of chance


def failed() -> list[str]:
    """The tests that failed last time, as pytest wrote them down."""
    return list(json.loads(pathlib.Path(".pytest_cache/v/cache/lastfailed").read_text()))


def may_pass_alone(tests: list[str]) -> bool:
    """Whether the failures of `tests` may come from what ran beside them."""
    return 0 < len(tests) <= MOST and all(test.startswith(ROOMS) for test in tests)


def main(tests: list[str]) -> int:
    """Return 0 if `tests` may pass alone, and do."""
    if not may_pass_alone(tests):
        return 1
    print("Failed beside others, once more alone:", *tests, sep="\n  ", flush=True)
    return subprocess.call([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *tests])


if __name__ == "__main__":
    sys.exit(main(failed()))
