"""However handles are used, compiled or not: a count, an answer or an exception, never a signal.

`make soak-native` tries 100,000 examples of the compiled ones; `make test-compiled` these few.
"""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = int(os.environ.get("RONDO_NATIVE_EXAMPLES", "200"))
SEED = os.environ.get("RONDO_NATIVE_SEED", "0")
USES = Path(__file__).with_name("native_uses.py")


def test_no_use_of_a_handle_ends_a_process():
    """Odd values and arrays, threads, forks, half-made, copied and bound handles: two processes try them, by turns."""
    half = EXAMPLES // 2
    commands = [[sys.executable, str(USES), SEED, str(first), str(half)] for first in (0, half)]
    tried = [subprocess.Popen(each, stdout=subprocess.PIPE, text=True) for each in commands]
    found = "".join(each.communicate()[0] for each in tried)
    assert [line for line in found.splitlines() if line.startswith("example")] == []
    assert [each.returncode for each in tried] == [0, 0]
    assert found.count("compiled: ") == 2
