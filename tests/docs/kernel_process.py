"""Runs cells in a real kernel: JSON of turns on stdin, each a list of cells; JSON of what each cell shows on stdout.

Between two turns the kernel is restarted, the last time as a hang is ended: killed.
"""

import json
import sys

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

TIMEOUT_S = 120


def shown(client, cell):
    """What a cell shows: for each output the data by its type, or the stream's text."""
    asked, outputs = client.execute(cell), []
    while True:
        message = client.get_iopub_msg(timeout=TIMEOUT_S)
        kind, content = message["msg_type"], message["content"]
        if message["parent_header"].get("msg_id") != asked:
            continue
        if kind in {"execute_result", "display_data"}:
            outputs.append(content["data"])
        elif kind in {"stream", "error"}:
            outputs.append({kind: content.get("text") or content["evalue"]})
        elif kind == "status" and content["execution_state"] == "idle":
            return outputs


manager = KernelManager()
argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
manager._kernel_spec = KernelSpec(
    argv=argv, display_name="Python", language="python"
)  # as installed, none is asked for
manager.start_kernel()
client = manager.client()
try:
    client.start_channels()
    turns, found = json.load(sys.stdin), []
    for number, cells in enumerate(turns):
        if number:
            manager.restart_kernel(now=number == len(turns) - 1)
        client.wait_for_ready(timeout=TIMEOUT_S)
        found.append([shown(client, cell) for cell in cells])
finally:
    client.stop_channels()
    manager.shutdown_kernel()
json.dump(found, sys.stdout)
