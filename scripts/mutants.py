"""Change the model one small place at a time, and see that some test fails: `make mutants`.

    python scripts/mutants.py [--sample 60 --seed 1] [--floor 90] [rondo_core/model/ring.py ...]

First the tests are run once, to learn which of them pass over which line, and how long each takes; each change is then
tried by those of its line alone, the quickest first, up to the first that fails. A change runs in a process of its own,
forked before rondo was imported; two at a time. What no test can tell apart stands in mutants.toml, with its reason.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import tomllib
from collections import Counter
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mutators import Mutant, mutants, mutated

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "mutants"
BESIDE = ("labels", "sketch", "small_fold", "whole_windows", "text", "words", "plan")
TESTS = ["tests/core/model", *(f"tests/core/test_{name}.py" for name in BESIDE)]
AT_ONCE = 2
BUDGET_S = 20.0  # of tests that a change is tried by
TIMEOUT_S = 90.0  # after which it counts as noticed: something waits for ever
QUIET = ["-q", "-x", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
NOTHING = -1  # the number of no change: the tests have to pass then, or all would be noticed


class Tried(NamedTuple):
    """What became of a change."""

    module: str
    mutant: Mutant
    fate: str


def main() -> int:
    """Give 0 where at least the share that is asked for was noticed, and no reason stands for what is not there."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("modules", nargs="*")
    asked.add_argument("--sample", type=int, default=0, help="try so many changes only; 0: all")
    asked.add_argument("--seed", type=int, default=0, help="which ones")
    asked.add_argument("--floor", type=float, default=90.0, help="the share, in percent, that must be noticed")
    asked.add_argument("--again", action="store_true", help="learn anew which test passes over which line")
    options = asked.parse_args()
    os.chdir(ROOT)
    modules = options.modules or sorted(
        str(path.relative_to(ROOT)) for path in (ROOT / "rondo_core/model").glob("*.py") if path.stem != "__init__"
    )
    WORK.mkdir(parents=True, exist_ok=True)
    passed = learn(again=options.again)
    work = [(module, number) for module in modules for number in range(len(mutants((ROOT / module).read_text())))]
    if options.sample:
        work = sorted(random.Random(options.seed).sample(work, min(options.sample, len(work))))  # noqa: S311 - which
    excused = reasons()
    tried = run_all(work, passed, excused)
    return report(tried, excused, options.floor, whole=not options.sample and not options.modules)


def reasons() -> dict[tuple[str, str, str], str]:
    """Read which changes no test can tell apart, and why."""
    told = tomllib.loads((ROOT / "scripts/mutants.toml").read_text())["equivalent"]
    return {(each["module"], each["place"], change): each["why"] for each in told for change in each["changes"]}


# -- which test passes over which line


class Map:
    """A pytest plugin that notes the lines of each test, and its time."""

    def __init__(self, coverage: Any) -> None:
        """Begin with nothing."""
        self.coverage, self.took = coverage, dict[str, float]()
        self._caches: list[Any] = []
        self._n_modules = 0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Any:
        """Note one test; what a cache remembers of another would hide lines from it."""
        if self._n_modules != len(sys.modules):
            self._n_modules = len(sys.modules)
            every = (each for each in gc.get_objects() if isinstance(each, functools._lru_cache_wrapper))  # noqa: SLF001
            self._caches = [each for each in every if str(each.__module__).startswith("rondo_core.model")]
        for cache in self._caches:
            cache.cache_clear()
        self.coverage.switch_context(item.nodeid)
        began = time.perf_counter()
        done = yield
        self.took[item.nodeid] = time.perf_counter() - began
        return done


def learn(*, again: bool) -> dict[str, dict[str, list[str]]]:
    """Give, by module and line, the tests that pass over it, the quickest first; line 0: those of the whole module."""
    kept = WORK / "lines.json"
    sources = [path for each in ["rondo_core/model", *TESTS] for path in Path(each).rglob("*.py")]
    if again or not kept.exists() or kept.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        pid = os.fork()
        if not pid:
            os._exit(_learn(kept))
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            sys.exit("mutants: the tests fail as the code stands; mend that first")
    found: dict[str, dict[str, list[str]]] = json.loads(kept.read_text())
    return found


def _learn(kept: Path) -> int:
    import coverage

    measured = coverage.Coverage(data_file=None, include=[str(ROOT / "rondo_core/model/*")], config_file=False)
    plugin = Map(measured)
    measured.start()
    status = pytest.main([*QUIET, f"--basetemp={WORK / 'learn'}", *TESTS], plugins=[plugin])
    measured.stop()
    if status:
        return int(status)
    data, took = measured.get_data(), plugin.took
    found: dict[str, dict[str, list[str]]] = {}
    for file in data.measured_files():
        lines = {str(line): [each for each in by if each in took] for line, by in data.contexts_by_lineno(file).items()}
        lines["0"] = list({each: None for by in lines.values() for each in by})
        module = str(Path(file).relative_to(ROOT))
        found[module] = {at: sorted(by, key=lambda each: took[each]) for at, by in lines.items()}
    found["took"] = {name: [str(seconds)] for name, seconds in took.items()}
    kept.write_text(json.dumps(found))
    return 0


def chosen(passed: dict[str, dict[str, list[str]]], module: str, line: int) -> list[str]:
    """Give the tests for a change on a line; one that no test passes over is read when the module is imported."""
    lines, left, some = passed.get(module, {}), BUDGET_S, []
    for name in lines.get(str(line)) or lines.get("0", []):
        left -= float(passed["took"][name][0])
        if left < 0 and some:
            break
        some.append(name)
    return some


# -- the changes


def run_all(work: list[tuple[str, int]], passed: Any, excused: Any) -> list[Tried]:
    """Try every change, so many at a time."""
    for name in ("numpy", "hypothesis", "msgpack", "attrs", "pluggy", "httpx", "pandas", "pyarrow"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert not any(name.startswith("rondo") for name in sys.modules)  # noqa: S101 - each child imports its own
    gc.freeze()
    for module in dict.fromkeys(module for module, _ in work):
        control = _start(module, NOTHING, chosen(passed, module, 0))
        if not _ended(control, time.monotonic() + 10 * TIMEOUT_S):
            sys.exit(f"mutants: {module}: the tests fail without a change in it, and would notice every one")
    waiting, running, done = list(reversed(work)), dict[int, Any](), list[Tried]()
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            module, number = waiting.pop()
            _, mutant = mutated((ROOT / module).read_text(), number)
            tests = chosen(passed, module, mutant.line)
            if (module, mutant.place, mutant.change) in excused:
                done.append(Tried(module, mutant, "excused"))
            elif not tests:
                done.append(_said(Tried(module, mutant, "unseen")))
            else:
                running[_start(module, number, tests)] = module, mutant, time.monotonic() + TIMEOUT_S
        pid, (module, mutant, until) = next(iter(running.items()))
        del running[pid]
        done.append(_said(Tried(module, mutant, "survived" if _ended(pid, until) else "noticed")))
    return done


def _ended(pid: int, until: float) -> bool:
    """Wait for a child, up to an instant of `monotonic`; say whether no test failed in it."""
    while not (found := os.waitpid(pid, os.WNOHANG))[0] and time.monotonic() < until:
        time.sleep(0.01)
    if not found[0]:
        os.killpg(pid, signal.SIGKILL)
        found = os.waitpid(pid, 0)
    shutil.rmtree(WORK / str(pid), ignore_errors=True)
    return os.waitstatus_to_exitcode(found[1]) == 0


def _said(tried: Tried) -> Tried:
    if tried.fate != "noticed":
        module, mutant = tried.module, tried.mutant
        print(f"{tried.fate}: {module}:{mutant.line}: in {mutant.place}: {mutant.change}", flush=True)
    return tried


def _start(module: str, number: int, tests: list[str]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setpgid(0, 0)
        status = _try(module, number, tests)
    finally:
        os._exit(status)


def _try(module: str, number: int, tests: list[str]) -> int:
    """Run the tests on the changed module; 0: none has failed."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 20, 256 << 20))
    path = str(ROOT / module)
    source = Path(path).read_text()
    code: Any = compile(source if number == NOTHING else mutated(source, number)[0], path, "exec")
    original = SourceFileLoader.get_code
    SourceFileLoader.get_code = lambda self, name: code if self.path == path else original(self, name)  # type: ignore[method-assign,assignment]

    import hypothesis

    found = [hypothesis.Phase.explicit, hypothesis.Phase.generate]  # the first example that fails is enough
    hypothesis.settings.register_profile("mutants", phases=found, database=None)
    hypothesis.settings.load_profile("mutants")
    return int(pytest.main([*QUIET, f"--basetemp={WORK / str(os.getpid())}", *tests]))


def report(tried: list[Tried], excused: dict[Any, str], floor: float, *, whole: bool) -> int:
    """Say how many were noticed, by module; 1 where that is too few."""
    counts = {module: Counter(each.fate for each in tried if each.module == module) for module, *_ in tried}
    counts["all"] = Counter(each.fate for each in tried)
    for module, fates in counts.items():
        total = sum(fates.values()) - fates["excused"]
        share = 100.0 * fates["noticed"] / total if total else 100.0
        print(f"{module:40} {fates['noticed']:5} of {total:5} noticed, {share:5.1f} %; {fates['excused']} excused")
    there = {(each.module, each.mutant.place, each.mutant.change) for each in tried}
    gone = [key for key in excused if key not in there] if whole else []
    for key in gone:
        print("mutants.toml: no such change any more:", *key)
    return 1 if share < floor or gone else 0


if __name__ == "__main__":
    sys.exit(main())
