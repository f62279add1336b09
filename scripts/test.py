"""Run the suite in two processes at the same time: what is named here in one, all the rest in the other.

`python scripts/test.py tests/core tests/fuzz`: what the first says is shown when the other is through; the status is 0
where both pass. A Ctrl-C of the terminal reaches both, and both end in order.
"""

import signal
import subprocess
import sys
import tempfile

PYTEST = [sys.executable, "-m", "pytest"]


def main(beside: list[str]) -> int:
    """Give the first status that is not 0."""
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    with tempfile.TemporaryFile("w+") as said:
        command = [*PYTEST, "-p", "no:cacheprovider", *beside]
        with subprocess.Popen(command, stdout=said, stderr=said) as first:  # noqa: S603 - this Python's own
            rest = [*PYTEST, *(f"--ignore={each}" for each in beside)]
            status = subprocess.call(rest)  # noqa: S603 - see above
        said.seek(0)
        print(said.read(), end="")
    return status or first.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
