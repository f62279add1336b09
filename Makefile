# Two commands do everything: `make demo` and `make test`. The rest is listed by `make help`.
# Another Python has an environment of its own: `make test PYTHON=python3.13` makes .venv-3.13.
ifeq ($(origin PYTHON),undefined)
PYTHON := python3
VENV   := .venv
else
VENV   := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
BIN    := $(VENV)/bin
TOOLS  := $(CURDIR)/.tools
DEMO   ?= demo.rondo
SECONDS ?= 15
COUNTS ?= 10 50 100
DURATION ?= 22

export PATH := $(TOOLS)/usr/bin:$(PATH)
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help
.PHONY: $(shell grep -oE '^[a-z0-9-]+:' $(firstword $(MAKEFILE_LIST)) | tr -d :) vmm-bench-15 vmm-bench-30 vmm-bench-45

help: ## List the targets.
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/' | column -t -s "$$(printf '\t')" 2>/dev/null \
	  || grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST)

PROJECTS := pyproject.toml $(wildcard rondo_exporters/*/pyproject.toml) scripts/venv.sh

$(VENV)/.installed: $(PROJECTS)
	@PYTHON="$(PYTHON)" sh scripts/venv.sh $(VENV)
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	@sh scripts/venv.sh $(VENV) --group check --group test
	@touch $@

demo: $(VENV)/.installed ## Boot a VM for 15 s with recording on, and show what was captured.
	@$(BIN)/python scripts/demo.py --store $(DEMO) --seconds $(SECONDS)

demo-grafana: $(VENV)/.installed ## Lay out what a Grafana needs to show the demo's store, and say what to type.
	@$(BIN)/python scripts/demo_grafana.py --store $(DEMO)

tools: ## Fetch what the integration tests start: servers of Prometheus and VictoriaMetrics, QEMU and Chromium (as root only), a Linux guest.
	@sh scripts/deb.sh $(TOOLS) prometheus /usr/bin/prometheus
	@sh scripts/deb.sh $(TOOLS) victoria-metrics /usr/bin/victoria-metrics
	@sh scripts/deb.sh $(TOOLS) influxdb /usr/bin/influxd
	@sh scripts/qemu.sh
	@sh scripts/chromium.sh $(TOOLS)
	@$(MAKE) -s guest-linux || echo "tools: no Linux guest; the tests that boot one are skipped" >&2

# What keeps to no second of the clock: it is run beside the rest, on the second core.
BESIDE := tests/core tests/vmm/test_linux.py tests/crash tests/fuzz tests/properties tests/promql tests/house tests/format

test: $(VENV)/.tested tools ## Install what the tests need and run them, in two processes.
	@$(BIN)/python scripts/test.py $(BESIDE)

test-compiled: $(VENV)/.tested ## Run what concerns recording again, with the hot path compiled.
	@sh scripts/compiled.sh $(BIN)/python $(BIN)/python -m pytest -q tests/core tests/properties tests/crash tests/docs tests/vmm tests/fuzz/test_native.py

$(VENV)/.systems: $(VENV)/.tested
	@sh scripts/venv.sh $(VENV) --group systems $$(command -v java >/dev/null && echo --group spark)
	@touch $@

test-systems: $(VENV)/.systems ## Drive the page in Chromium; let Spark read what the Parquet exporter writes, if Java is there; hold the manifests to Kubernetes's schemas; run jobs in control groups of version 2; test on each other Python that is.
	@RONDO_SYSTEMS=1 $(BIN)/python -m pytest -q -m chromium tests/web/page
	@RONDO_SYSTEMS=1 $(BIN)/python -m pytest -q -m chromium tests/job/test_report_page.py
	@RONDO_SYSTEMS=1 $(BIN)/python -m pytest -q tests/promql/test_compliance.py
	@RONDO_SYSTEMS=1 $(BIN)/python -m pytest -q -m spark rondo_exporters/parquet/tests/test_engines.py
	@RONDO_SYSTEMS=1 $(BIN)/python -m pytest -q -m spark rondo_exporters/parquet/tests/test_answers.py
	@$(BIN)/python -m pytest -q tests/integration/test_prometheus_clients.py tests/deploy
	@$(BIN)/python scripts/cgroup2.py
	@sh scripts/other_pythons.sh $(BIN)/python tests/core tests/properties rondo_exporters

$(VENV)/.measured: $(VENV)/.tested
	@sh scripts/venv.sh $(VENV) --group measure
	@touch $@

COVERED ?= tests/core tests/properties tests/conformance tests/format tests/crash tests/export tests/cli tests/vmm tests/promql tests/web tests/job tests/bridges rondo_exporters

coverage: $(VENV)/.measured ## What of each package the tests go through, branches too, with pure handles: COVERED="tests/core".
	@$(BIN)/python scripts/covered.py $(COVERED)

mutants: $(VENV)/.measured ## Change the model in one place at a time, and see that a test fails: MUTANTS="--sample 60 --seed 1".
	@nice $(BIN)/python scripts/mutants.py $(MUTANTS)

soak-model: $(VENV)/.tested ## Look for sequences that the model and the store disagree about.
	@RONDO_MODEL_EXAMPLES=$${RONDO_MODEL_EXAMPLES:-2000} RONDO_CLOCK_JOURNEYS=$${RONDO_CLOCK_JOURNEYS:-200} \
	  RONDO_EXPORT_JOURNEYS=$${RONDO_EXPORT_JOURNEYS:-200} $(BIN)/python -m pytest -q tests/properties --hypothesis-seed=random -o timeout=3600

soak-fuzz: $(VENV)/.tested ## Look for damage to a store's files that ends in anything but a typed error.
	@RONDO_FUZZ_EXAMPLES=$${RONDO_FUZZ_EXAMPLES:-3000} $(BIN)/python -m pytest -q tests/fuzz --hypothesis-seed=random -o timeout=7200

soak-native: $(VENV)/.tested ## Use and misuse the compiled handles in 100,000 ways, each time others; no process may end by a signal.
	@RONDO_NATIVE_EXAMPLES=$${RONDO_NATIVE_EXAMPLES:-100000} RONDO_NATIVE_SEED=$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ') \
	  sh scripts/compiled.sh $(BIN)/python $(BIN)/python -m pytest -q -s tests/fuzz/test_native.py -o timeout=14400

soak-kill: $(VENV)/.tested ## Kill a writing process 1,000 times and compare what it leaves.
	@RONDO_KILLS=$${RONDO_KILLS:-1000} $(BIN)/python -m pytest -q tests/crash/test_soak.py -o timeout=3600

soak-reader: $(VENV)/.tested ## Read a store for 30 s while another process writes it at full speed.
	@RONDO_READER_S=$${RONDO_READER_S:-30} $(BIN)/python -m pytest -q tests/crash/test_live_reader.py

soak-hostile: $(VENV)/.tested ## Let a hostile guest loose on every device, ten times a million operations, each time others.
	@for turn in 1 2 3 4 5 6 7 8 9 10; do RONDO_HOSTILE_SEED=$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ') \
	  $(BIN)/python -m pytest -q -s tests/vmm/test_hostile_guest.py || exit 1; done

soak-http: $(VENV)/.tested ## Send 10,000 hostile requests, each time others, and hold /metrics/health to a second meanwhile.
	@RONDO_HTTP_REQUESTS=$${RONDO_HTTP_REQUESTS:-10000} RONDO_HTTP_SEED=$${RONDO_HTTP_SEED:-$$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')} \
	  $(BIN)/python -m pytest -q -s tests/web/test_hostile_http.py -o timeout=3600

soak-compare: $(VENV)/.tested ## Compare five real runs with five, 30 times: without a change, with 10 % more CPU, with 5 % more memory.
	@$(BIN)/python bench/compared.py

soak-run: $(VENV)/.tested ## Kill the recorder of a run, its job or both 1,000 times at random moments, and look at what is on record.
	@RONDO_RUN_KILLS=$${RONDO_RUN_KILLS:-1000} RONDO_RUN_SEED=$${RONDO_RUN_SEED:-$$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')} \
	  $(BIN)/python -m pytest -q -s tests/job/test_output_relay.py -k kills -o timeout=14400

soak-autopsy: $(VENV)/.tested ## End jobs in every way there is, ten times each in random order, and see that the autopsy names it.
	@RONDO_AUTOPSY_ROUNDS=$${RONDO_AUTOPSY_ROUNDS:-10} RONDO_AUTOPSY_SEED=$${RONDO_AUTOPSY_SEED:-$$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')} \
	  $(BIN)/python -m pytest -q tests/job/test_autopsy_causes.py -o timeout=3600

soak-power: $(VENV)/.tested ## Fail the power 2,000 times, and look at what the disk may hold afterwards.
	@RONDO_POWER_LOSSES=$${RONDO_POWER_LOSSES:-2000} $(BIN)/python -m pytest -q tests/crash/test_power_loss.py -o timeout=3600

vmm-test-linux: $(VENV)/.tested tools ## Boot Debian's kernel on /dev/kvm to its first program and back, on one CPU and on two.
	@RONDO_LINUX=$${RONDO_LINUX:-1} $(BIN)/python -m pytest -q tests/vmm/test_linux.py

test-cgroup2: $(VENV)/.tested tools ## Run jobs, and end them in every way, in a Linux guest whose control groups are of version 2.
	@$(BIN)/python scripts/cgroup2.py --whole

soak-interrupt: $(VENV)/.tested tools exporters ## Interrupt each benchmark at 10 random moments, and look for what they leave.
	@RONDO_INTERRUPTS=$${RONDO_INTERRUPTS:-10} $(BIN)/python -m pytest -q tests/bench/test_interrupt.py -o timeout=3600

soak-strict: $(VENV)/.tested ## Send 10,000 requests of random stores to a receiver that objects to whatever the protocol forbids.
	@RONDO_STRICT_REQUESTS=$${RONDO_STRICT_REQUESTS:-10000} $(BIN)/python -m pytest -q -s rondo_exporters/prometheus/tests/test_strict.py -o timeout=7200

soak-export: $(VENV)/.tested tools ## Export ten minutes to real servers through every fault, and print what arrived.
	@RONDO_EXPORT_FULL=1 $(BIN)/python -m pytest -q -s tests/integration/test_faults.py -o timeout=3600

soak-late: $(VENV)/.tested tools ## Send 1,000 lives that ended up to a day ago to real receivers, through faults, and compare what each has.
	@RONDO_LATE_LIVES=$${RONDO_LATE_LIVES:-1000} $(BIN)/python -m pytest -q -s tests/integration/test_late_lives.py -o timeout=3600

soak-agent: $(VENV)/.tested ## Make, rename, swap, forbid, damage and kill 1,000 stores under two agents, and compare what their receivers took.
	@RONDO_AGENT_STORES=$${RONDO_AGENT_STORES:-1000} $(BIN)/python -m pytest -q -s tests/export/test_chaos.py -o timeout=3600

soak-lake: $(VENV)/.tested ## Fill a lake in an object store that errs and answers late, through agents that are killed 100 times, and check it.
	@RONDO_LAKE_ROUNDS=$${RONDO_LAKE_ROUNDS:-100} RONDO_LAKE_SEED=$${RONDO_LAKE_SEED:-$$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')} \
	  $(BIN)/python -m pytest -q -s rondo_exporters/parquet/tests/test_chaos.py -k nothing_is_lost -o timeout=3600

soak-promql: $(VENV)/.tested tools ## Compare 10,000 random PromQL expressions, each time others, with a real Prometheus; and again over remote read.
	@RONDO_PROMQL_EXPRESSIONS=$${RONDO_PROMQL_EXPRESSIONS:-10000} RONDO_PROMQL_SEED=$${RONDO_PROMQL_SEED:-$$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')} \
	  $(BIN)/python -m pytest -q -s tests/promql/test_compared.py -o timeout=3600

compliance: $(VENV)/.tested ## Ask rondo and a real Prometheus the public compliance suite of PromQL: SUITE=../compliance/promql, of a checkout.
	@sh scripts/deb.sh $(TOOLS) prometheus /usr/bin/prometheus
	@$(BIN)/python tests/promql/compliance.py $(SUITE)

soak-pytest: $(VENV)/.tested ## Kill 20 workers of pytest in the middle of a test, and see that who took the memory is named.
	@RONDO_PYTEST_KILLS=$${RONDO_PYTEST_KILLS:-20} $(BIN)/python -m pytest -q tests/job/test_pytest_plugin.py -k memory -o timeout=600

check: $(VENV)/.tested ## Lint, format, types, spelling.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@for project in rondo_exporters/*/; do (cd $$project && ../../$(BIN)/mypy) || exit 1; done
	@$(BIN)/codespell
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-actions deploy/ci/action.yml
	@$(BIN)/check-jsonschema --quiet --data-transform gitlab-ci --builtin-schema vendor.gitlab-ci deploy/ci/gitlab-ci.yml
	@echo "check: nothing to mend"

wheels: $(VENV)/.installed ## Build what a release holds into dist/, for each Python that is found, and use it in empty environments.
	@PYTHON=$(BIN)/python sh scripts/wheels.sh dist

format: $(VENV)/.tested ## Format the code and mend what the linter can.
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

bench-write: $(VENV)/.tested ## Recording beside prometheus_client, as Python and compiled.
	@$(BIN)/python bench/write_path.py --out bench/results/write_path_pure.json
	@sh scripts/compiled.sh $(BIN)/python $(BIN)/python bench/write_path.py

bench-pytest: $(VENV)/.tested ## What pytest --rondo costs a test: 30 pairs of sessions of 5,000 empty ones.
	@$(BIN)/python bench/pytest_overhead.py --repeat $${RUNS:-30}

bench-instruments: $(VENV)/.tested ## Labels, timers and gauges beside prometheus_client, as Python and compiled.
	@$(BIN)/python bench/instruments.py --out bench/results/instruments_pure.json
	@sh scripts/compiled.sh $(BIN)/python $(BIN)/python bench/instruments.py

bench-records: bench-peers ## Time each record of rondo and ten peers: p50, p99, p99.9 and throughput of up to 10 million.
	@sh scripts/compiled.sh $(BIN)/python $(BIN)/python bench/write_peers.py --out bench/results/write_peers.json

$(VENV)/.benched: $(VENV)/.installed
	@sh scripts/venv.sh $(VENV) --group bench
	@touch $@

bench-agent: $(VENV)/.installed ## What an agent costs beside 500 stores, their writers gone and live.
	@$(BIN)/python bench/agent.py

bench-fleet: $(VENV)/.tested ## Send a simulated day of 100,000 lives through one agent: its CPU, its memory, its start.
	@$(BIN)/python bench/fleet.py --lives $${LIVES:-100000}

bench-lines: $(VENV)/.installed ## What a sample costs as a line of CSV and of JSON.
	@$(BIN)/python bench/lines.py

bench-bridges: $(VENV)/.tested ## What a request costs in the middleware, beside one of prometheus_client.
	@sh scripts/compiled.sh $(BIN)/python $(BIN)/python bench/bridges.py

bench-multiprocess: $(VENV)/.tested ## Let 10,000 workers retire, with rondo's stores and prometheus_client's own files.
	@$(BIN)/python bench/multiprocess.py

bench-lake: $(VENV)/.tested ## What a lake of 1,000 lives takes and answers, and the p95 of peak memory over a year of CI.
	@$(BIN)/python bench/lake.py

bench-known: $(VENV)/.tested ## What rondo run says of fourteen programs whose use is known, beside GNU time, con-duct and psrecord.
	@sh scripts/venv.sh $(VENV) --group known
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python bench/known.py

bench-promql: $(VENV)/.tested tools ## PromQL over HTTP and in process, beside a real Prometheus on the same samples.
	@$(BIN)/python bench/promql.py

bench-recorders: $(VENV)/.installed ## What each ready recorder costs a tick, in a row and at one a second.
	@$(BIN)/python bench/recorders.py

bench-footprint: $(VENV)/.tested ## What recording takes of a program's memory after a minute, beside prometheus_client.
	@$(BIN)/python bench/footprint.py

bench-page: $(VENV)/.systems ## How soon the page paints its first chart of 100 series once the points have come; needs Chromium.
	@$(BIN)/python bench/page.py

bench-stalls: $(VENV)/.installed ## How late a record can be while another process writes and syncs 500 MB files; RUNS=10.
	@$(BIN)/python bench/stalls.py --repeat $${RUNS:-10}

bench-export: $(VENV)/.benched ## Export to a receiver that only acknowledges, beside two other senders.
	@$(BIN)/python bench/export.py

bench-ways: $(VENV)/.systems tools ## Hand 1,000 ended lives to each system that keeps them, compare and ask it, and write the tables of docs/scale.md.
	@$(BIN)/python bench/ways.py

bench-report: $(VENV)/.tested vmm-bench-exits ## Measure recording, reading and scale, and write docs/benchmarks.md from that.
	@$(BIN)/python bench/write_path.py --out bench/results/write_path_pure.json
	@for bench in write_path read_path scale; do \
	  sh scripts/compiled.sh $(BIN)/python $(BIN)/python bench/$$bench.py --out bench/results/$$bench.json || exit 1; done
	@$(BIN)/python bench/report.py

bench-peers: $(VENV)/.tested ## Install what bench-report compares with where it is there; rrdtool needs librrd-dev.
	@$(BIN)/pip install -q --group bench
	@$(BIN)/pip install -q rrdtool 2>/dev/null || echo "bench-peers: rrdtool does not build here and is left out"

vmm-bench-scale: $(VENV)/.tested exporters ## What monitoring adds to each VM, beside Prometheus and node_exporters: COUNTS="10 50 100" DURATION=22.
	@sh scripts/compiled.sh $(BIN)/python $(BIN)/python bench/vmm_scale.py $(COUNTS) --duration $(DURATION) $(if $(REMOTE_WRITE),--remote-write $(REMOTE_WRITE))

exporters: ## Fetch what rondo is compared with: a Prometheus and its node_exporter.
	@sh scripts/deb.sh $(TOOLS) prometheus /usr/bin/prometheus
	@sh scripts/deb.sh $(TOOLS) prometheus-node-exporter /usr/bin/prometheus-node-exporter

vmm-bench-15 vmm-bench-30 vmm-bench-45: vmm-bench-%: $(VENV)/.installed ## Run a VM that long and check every second of it.
	@$(BIN)/python bench/capture.py $*

vmm-bench-capture: $(VENV)/.installed exporters ## What is left of VMs that live 2 to 45 s: in rondo, and in a Prometheus that scrapes them.
	@$(BIN)/python bench/vmm_capture.py

vmm-bench-linux: $(VENV)/.installed guest-linux ## Run 20 Linux guests of 45 s in QEMU and check every second of them.
	@$(BIN)/python bench/capture_linux.py $${RONDO_SECONDS:-45} --runs $${RONDO_RUNS:-20}

bench-life: $(VENV)/.tested ## Replay 7 days of a store in simulated time, and compare every tier with numpy.
	@sh scripts/compiled.sh $(BIN)/python $(BIN)/python bench/whole_life.py --out bench/results/whole_life.json

pictures: $(VENV)/.systems ## Picture the page anew for docs/page.md; needs Chromium.
	@$(BIN)/python scripts/pictures.py

reference: $(VENV)/.tested ## Write docs/reference/ anew from the code.
	@$(BIN)/python scripts/reference.py

docs: $(VENV)/.tested ## Build the site in build/site.
	@$(BIN)/python -m mkdocs build --strict --quiet && echo "docs: build/site/index.html"

manifests: $(VENV)/.tested ## Make deploy/kubernetes from the dashboards, the alerts and agent.toml.
	@$(BIN)/python deploy/generate.py

vmm-bench-exits: $(VENV)/.tested ## What recording costs an exit, as Python, compiled and with 100 requests/s to the API; the start.
	@$(BIN)/python bench/vmm_exits.py --out bench/results/vmm_exits_pure.json
	@sh scripts/compiled.sh $(BIN)/python $(BIN)/python bench/vmm_exits.py --out bench/results/vmm_exits.json

vmm-demo: demo ## The same as demo.

vmm-demo-disk: $(VENV)/.installed guest-linux ## Boot a Linux VM with a disk in QEMU, and show what its disk did.
	@sh scripts/qemu.sh
	@$(BIN)/python scripts/demo_disk.py --seconds $(SECONDS)

vmm-demo-remote-write: $(VENV)/.installed ## Start a Prometheus, let a VM push to it, and ask it for every point.
	@sh scripts/deb.sh $(TOOLS) prometheus /usr/bin/prometheus
	@$(BIN)/python scripts/demo_remote_write.py --seconds $(SECONDS)

guest: ## Rebuild the bundled guest.
	@sh guest/build.sh

guest-linux: $(TOOLS)/guest/initramfs.cpio ## Make the Linux guest from Debian's kernel and busybox; once.
	@cat $(TOOLS)/guest/sources.txt

$(TOOLS)/guest/initramfs.cpio: guest/build.sh guest/initramfs.py guest/init guest/workload.sh
	@sh guest/build.sh --linux $(TOOLS)/guest >/dev/null

clean: ## Remove what the targets made.
	rm -rf .venv .venv-* $(TOOLS) $(DEMO) demo-disk.rondo demo-disk.img demo-remote-write.rondo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
