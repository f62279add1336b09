"""Lay out what a Grafana of this machine needs to show a store with rondo's dashboards, and say what to type."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
DEPLOY, MADE = ROOT / "deploy", ROOT / "build" / "grafana"
HOMES = ("/usr/share/grafana", "/opt/grafana", "/usr/local/share/grafana", "/opt/homebrew/opt/grafana/share/grafana")
PROVIDER = """apiVersion: 1
providers:
  - name: rondo
    type: file
    options:
      path: {dashboards}
"""


def main() -> int:
    """Write build/grafana, and say which two commands show it; 1 where there is no Grafana."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("demo.rondo"))
    store = parser.parse_args().store
    if not store.exists():
        print(f"{store}: no store here yet; make demo", file=sys.stderr)
        return 1
    provisioning = MADE / "provisioning"
    for part, name, text in (
        ("datasources", "rondo.yaml", (DEPLOY / "grafana" / "rondo.yaml").read_text("utf-8")),
        ("dashboards", "rondo.yaml", PROVIDER.format(dashboards=DEPLOY / "dashboards")),
    ):
        (provisioning / part).mkdir(parents=True, exist_ok=True)
        (provisioning / part / name).write_text(text, "utf-8")
    server = shutil.which("grafana-server") or shutil.which("grafana")
    home = next((each for each in HOMES if Path(each, "public").is_dir()), None)
    if server is None:
        print("There is no Grafana on this machine: https://grafana.com/grafana/download. Where there is one:\n")
    command = "grafana-server" if server is None or server.endswith("-server") else "grafana server"
    print(f"$ rondo serve {store}")
    print(
        f"$ {command} --homepath {home or '/usr/share/grafana'} cfg:paths.data={MADE / 'data'} "
        f"cfg:paths.provisioning={provisioning} cfg:auth.anonymous.enabled=true"
    )
    print('\nThen http://127.0.0.1:3000/dashboards has "rondo: a VM"; choose the range in which the VM ran.')
    return 0 if server else 1


if __name__ == "__main__":
    sys.exit(main())
