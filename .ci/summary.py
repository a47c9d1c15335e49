"""
Counts a run of trial in one line: `N passed, N failed`, with `, N skipped` where tests were skipped.

Usage: summary.py REPORT STATUS FAILED, where REPORT is trial's output, STATUS the exit status of the command
that made it, and FAILED the number of other checks that failed. It exits with 1 unless everything passed. It
runs on the Python of the system, whichever that is, and imports nothing of the project.
"""

from __future__ import annotations

import re
import sys


def count(report: str, status: int, failed_checks: int) -> tuple[int, int, int]:
    """
    Return how many tests passed, failed and were skipped.

    A run that has no summary, ran nothing, or failed without naming a test counts as one failure.
    """
    pattern = r"^Ran (\d+) tests? in [^\n]*\n+(?:PASSED|FAILED)(?: \((.*)\))?$"
    found = re.findall(pattern, report, re.MULTILINE)
    if not found or found[-1][0] == "0":
        return 0, failed_checks + 1, 0
    numbers = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", found[-1][1])}
    passed = numbers.get("successes", 0) + numbers.get("expectedFailures", 0)
    failed = numbers.get("failures", 0) + numbers.get("errors", 0) + numbers.get("unexpectedSuccesses", 0)
    if status != 0 and failed == 0:
        failed = 1
    return passed, failed + failed_checks, numbers.get("skips", 0)


def line(passed: int, failed: int, skipped: int) -> str:
    """Write the counts as one line."""
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


def main(arguments: list[str]) -> int:
    """Print the line for a report; return the exit status."""
    path, status, failed_checks = arguments
    with open(path, encoding="utf-8", errors="replace") as report:
        counts = count(report.read(), int(status), int(failed_checks))
    print(line(*counts))
    return 1 if counts[1] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
