"""A suite of the public one's form is answered by `rondo serve` as by a real Prometheus; see compliance.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = [
    pytest.mark.prometheus,
    pytest.mark.skipif(not os.environ.get("RONDO_SYSTEMS"), reason="starts two servers; make test-systems does"),
]
VARIANTS = """var testVariantArgs = map[string][]string{
	"range": {"12s", "40s", "7m", "20m"},
	"over": {"sum", "avg", "max", "min", "count", "stddev", "last", "present", "absent"},
	"fold": {
		"sum",
		"avg",
		"stdvar",
		"group",
	},
	"rate": {"rate", "increase", "delta", "irate", "idelta"},
	"op": {"+", "%", "^", "==", ">="},
	"quantile": {"-1", "0.2", "0.9", "2"},
	"date": {"minute", "day_of_year"},
}
"""
CASES = {
    "demo_memory_usage_bytes @ end() offset 3m": [],
    '{__name__=~"demo_disk_.*",instance!~".*1"}': [],
    "demo_intermittent_metric or demo_num_cpus": [],
    "{{.fold}} by (instance) (demo_memory_usage_bytes)": ["fold"],
    "{{.fold}} without (le, status) (rate(demo_api_request_duration_seconds_bucket[2m]))": ["fold"],
    "{{.over}}_over_time(demo_intermittent_metric[{{.range}}])": ["over", "range"],
    "{{.rate}}(demo_api_request_duration_seconds_sum[{{.range}}])": ["rate", "range"],
    "{{.rate}}(demo_items_shipped_total[{{.range}}] offset 2m)": ["rate", "range"],
    "demo_memory_usage_bytes {{.op}} ignoring (type) group_left demo_disk_total_bytes": ["op"],
    "time() {{.op}} demo_batch_last_run_timestamp_seconds": ["op"],
    "histogram_quantile({{.quantile}}, sum by (le, path) (rate(demo_api_request_duration_seconds_bucket[3m])))": ["quantile"],
    "quantile_over_time({{.quantile}}, demo_memory_usage_bytes[{{.range}}])": ["quantile", "range"],
    "topk by (type) (1, demo_memory_usage_bytes)": [],
    "min_over_time(demo_memory_usage_bytes[1s])": [],
    "{{.date}}(demo_batch_last_success_timestamp_seconds)": ["date"],
    "max_over_time(sum by (mode) (rate(demo_cpu_usage_seconds_total[50s]))[4m:20s])": [],
    "predict_linear(demo_disk_usage_bytes[{{.range}}], 60)": ["range"],
}  # fmt: skip
REFUSED = ["demo_num_cpus + on (job) demo_num_cpus", 'label_join(demo_num_cpus, "instance", "", "job")', "rate(demo_num_cpus)"]  # fmt: skip
N_QUESTIONS = 3 + 4 + 4 + 36 + 20 + 20 + 5 + 5 + 4 + 16 + 1 + 1 + 2 + 1 + 4


@pytest.fixture
def compliance(tmp_path):
    """Ask a suite of these queries: `compliance({query: names of variants}, [refused, ...])`, and give what is said."""

    def ask(cases, refused):
        (tmp_path / "testcases").mkdir()
        (tmp_path / "testcases/expand.go").write_text(VARIANTS)
        listed = [{"query": query, "variant_args": names} for query, names in cases.items()]
        listed += [{"query": query, "should_fail": True} for query in refused]
        (tmp_path / "promql-test-queries.yml").write_text(yaml.safe_dump({"test_cases": listed}))
        command = [sys.executable, str(Path(__file__).with_name("compliance.py")), str(tmp_path), "2400"]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=200)

    return ask


def test_every_query_over_stores_of_three_instances_is_answered_as_by_prometheus(compliance):
    """Recorded in stores, sent by `rondo export`, asked over HTTP: as many answers and refusals as queries, few of them empty."""
    done = compliance(CASES, REFUSED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"equal: {N_QUESTIONS} of {N_QUESTIONS}, " in done.stdout
    assert "refused: 3 of 3" in done.stdout
    assert int(done.stdout.partition(f"{N_QUESTIONS}, ")[2].split()[0]) < 10


def test_a_query_that_is_answered_and_should_be_refused_is_named(compliance):
    """What no answer can make equal is said, and is the exit status."""
    done = compliance({"demo_num_cpus": [], "rate(demo_num_cpus)": []}, ["vector(1)"])
    assert done.returncode == 1
    assert "equal: 1 of 2" in done.stdout
    assert "refused: 0 of 1" in done.stdout
    assert "vector(1)\n    Prometheus itself: matrix of 1, where a refusal is asked for" in done.stdout
