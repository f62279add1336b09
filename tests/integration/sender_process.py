"""Export a finished store once, as `rondo export` does but in small requests; print the outcome as JSON."""

import json
import sys

import attrs

from rondo_core import Plugins, StoreReader
from rondo_core.export.runner import Runner
from rondo_core.plugins.manager import EXPORTERS


def main(path, url, timeout, max_samples, deadline_s):
    config = {"url": url, "timeout": timeout, "external_labels": "instance=vm1", "zeroes": False}
    plugins = Plugins(config={"prometheus": config})
    plugins.load(EXPORTERS, ["prometheus"])
    with StoreReader(path) as reader:
        exporter = plugins.open("rondo_exporter_open", "prometheus")
        runner = Runner(reader, exporter, "prometheus", max_samples=int(max_samples))
        print(json.dumps(attrs.asdict(runner.finish(1, float(deadline_s)))))


main(*sys.argv[1:])
