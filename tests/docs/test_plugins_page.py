"""What docs/plugins.md shows runs as shown."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
FILES = dict(re.findall(r"```python\n# (\S+\.py)\n(.*?)```", PAGE, re.DOTALL))


def test_every_plugin_of_the_page_passes_its_suite(tmp_path):
    """A recorder, a consolidator and an exporter, each with its test, in an empty directory."""
    assert set(FILES) == {
        *(f"{each}.py" for each in ("load_recorder", "span_consolidator", "lines_exporter", "record")),
        *(f"test_{each}.py" for each in ("load_recorder", "span_consolidator", "lines_exporter")),
    }
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
    ]
    said = subprocess.run([*command, "."], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout
    assert re.search(r"\d\d passed", said.stdout), said.stdout
    said = subprocess.run([sys.executable, "record.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout == "1 point\n"
