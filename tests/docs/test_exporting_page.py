"""The page of exporters: what it shows runs as shown."""

import csv
import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "exporting.md").read_text()


def test_a_program_records_and_sends_as_its_file_says(tmp_path):
    """The file and the program, in an empty directory: what was recorded is in the store and has been sent."""
    (config,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "rondo.toml").write_text(config)
    subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=tmp_path, check=True, timeout=60)
    sent = {}
    for name in ("jobs.csv", "tens.csv"):
        with (tmp_path / name).open(newline="") as file:
            sent[name] = {re.sub(r"[{].*", "", row["series"]) for row in csv.DictReader(file)}
    assert {"jobs_total", "process_threads"} <= sent["jobs.csv"]
    assert "process_threads_avg" in sent["tens.csv"]
