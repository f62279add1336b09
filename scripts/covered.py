"""Run tests, and say what share of the lines and branches of each package they go through: `make coverage`.

The handles are pure, as Cython's would tell nothing; commands and forked processes count, one that is killed does not.
The page of all lines is build/coverage/index.html.
"""

import json
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "coverage"
COVERAGE = [sys.executable, "-m", "coverage"]
COUNTS = ("num_statements", "missing_lines", "num_branches", "missing_branches")


def main(tests: list[str]) -> int:
    """Give the status of the tests; the table is printed whatever it is."""
    if sorted((ROOT / "rondo_core/record").glob("handles.*.so")):
        sys.exit("coverage: the hot path is compiled here; wait for `make test-compiled`, or remove its .so files")
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    status = subprocess.call([*COVERAGE, "run", "-m", "pytest", "-q", *tests], cwd=ROOT)  # noqa: S603 - its own Python
    _run("combine", "--quiet")
    _run("html", "--quiet", "--skip-covered", "--directory", str(WORK))
    _run("json", "--quiet", "-o", str(WORK / "coverage.json"))
    table(json.loads((WORK / "coverage.json").read_text())["files"])
    return status


def _run(*words: str) -> None:
    subprocess.run([*COVERAGE, *words], cwd=ROOT, check=True)  # noqa: S603 - see above


def table(files: dict[str, dict[str, dict[str, int]]]) -> None:
    """Print a line for each package, and one for each folder of the core."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0] * len(COUNTS))
    for name, file in files.items():
        parts = Path(name).parts
        package = parts[2] if parts[0] == "rondo_exporters" else parts[0]
        places = [package, *([f"{package}/{parts[1]}"] if package == "rondo_core" and len(parts) > 2 else [])]
        for place in [*places, "all"]:
            sums[place] = [before + file["summary"][count] for before, count in zip(sums[place], COUNTS, strict=True)]
    print(f"{'package':32} {'lines':>7} {'missed':>7} {'branches':>9} {'missed':>7} {'through':>8}")
    for place, (lines, missed, branches, missed_branches) in sorted(sums.items(), key=lambda each: each[0] == "all"):
        share = 100.0 * (1 - (missed + missed_branches) / max(1, lines + branches))
        print(f"{place:32} {lines:7} {missed:7} {branches:9} {missed_branches:7} {share:7.1f}%")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
