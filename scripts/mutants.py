"""Change the model one small place at a time, and see that some test fails: `make mutants`.

    python scripts/mutants.py [--sample 60 --seed 1] [--floor 90] [rondo_core/model/ring.py ...]

The tests are collected once, and run once to learn which of them pass over which line and how long each takes; each
change is then tried by those of its line alone, the quickest first, up to the first that fails. It is tried in a forked
process, in which the functions that it is in get the changed code; one outside of functions, which has its effect while
a module is imported, in a process that is started anew. Two at a time. What no test can tell apart stands in
mutants.toml, with its reason.

Written for this project, because mutmut 3 leaves alone what is decorated (properties, caches) or stands outside of
functions, of which a model of constants and attrs classes is made, and cosmic-ray changes the files that others read.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib.util
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
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import pytest
from _pytest.runner import runtestprotocol
from mutators import Mutant, mutants, mutated

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "mutants"
BESIDE = ("labels", "sketch", "sketch_bytes", "small_fold", "whole_windows", "text", "words", "plan")
TESTS = ["tests/core/model", *(f"tests/core/test_{name}.py" for name in BESIDE)]
AT_ONCE = 2
BUDGET_S = 8.0  # CPU time of the tests that a change is tried by
CPU_S = 20  # after which it counts as noticed: something never ends
TIMEOUT_S = 300.0  # and something waits for ever
PYTEST = ["-q", "-x", "-s", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
NOTHING = -1  # the number of no change: the tests have to pass then, or all would be noticed

Lines = dict[str, dict[str, list[str]]]


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
    asked.add_argument("--alone", type=int, help="try this change of one module, by the tests that follow it")
    options = asked.parse_args()
    os.chdir(ROOT)
    if options.alone is not None:
        module, *tests = options.modules
        return _alone(module, options.alone, tests)
    modules = options.modules or sorted(
        str(path.relative_to(ROOT)) for path in (ROOT / "rondo_core/model").glob("*.py") if path.stem != "__init__"
    )
    work = [(module, number) for module in modules for number in range(len(_of(module)))]
    if options.sample:
        work = sorted(random.Random(options.seed).sample(work, min(options.sample, len(work))))  # noqa: S311 - which
    if importlib.util.find_spec("coverage") is None:
        sys.exit("mutants: coverage is not installed, which says whose lines a test passes over; use make mutants")
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    trial = Trial(work, reasons())
    status = pytest.main([*PYTEST, *TESTS], plugins=[trial])
    if status or not trial.ready:
        sys.exit("mutants: the tests fail as the code stands, and would notice every change; mend that first")
    return report(trial.tried, trial.excused, options.floor, whole=not options.sample and not options.modules)


@functools.cache
def _of(module: str) -> list[Mutant]:
    return mutants((ROOT / module).read_text())


def reasons() -> dict[tuple[str, str, str], str]:
    """Read which changes no test can tell apart, and why."""
    told = tomllib.loads((ROOT / "scripts/mutants.toml").read_text())["equivalent"]
    return {(each["module"], each["place"], change): each["why"] for each in told for change in each["changes"]}


class Trial:
    """A pytest plugin: in the place of running the collected tests once, run some of them for each change.

    Attributes: `tried`, what became of each; `ready`: that the tests pass where nothing is changed.
    """

    def __init__(self, work: list[tuple[str, int]], excused: dict[tuple[str, str, str], str]) -> None:
        """Take (module, number of the change) of each."""
        self.work, self.excused = work, excused
        self.tried: list[Tried] = []
        self.ready = False
        self.items: dict[str, Any] = {}
        self.lines: Lines = {}
        self.functions: list[FunctionType] = []
        self.caches: list[Any] = []

    def pytest_configure(self) -> None:
        """Let the first example that fails be enough, and no test fail by how long an example takes."""
        import hypothesis

        found, slow = [hypothesis.Phase.explicit, hypothesis.Phase.generate], [hypothesis.HealthCheck.too_slow]
        hypothesis.settings.register_profile(
            "mutants", phases=found, database=None, deadline=None, suppress_health_check=slow
        )
        hypothesis.settings.load_profile("mutants")

    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Learn, then try every change, so many at a time."""
        if session.testsfailed:
            return None
        self.items = {item.nodeid: item for item in session.items}
        every = gc.get_objects()  # which does not give what is frozen
        mine = str(ROOT / "rondo_core/model")
        caches = [each for each in every if isinstance(each, functools._lru_cache_wrapper)]  # noqa: SLF001
        self.caches = [each for each in caches if str(each.__module__).startswith("rondo_core.model")]
        functions = [each for each in every if isinstance(each, FunctionType)]
        self.functions = [each for each in functions if each.__code__.co_filename.startswith(mine)]
        del every, caches, functions
        gc.freeze()
        if not _ended(self._fork(self._learn, bounded=False), time.monotonic() + 10 * TIMEOUT_S):
            return True
        self.lines = json.loads((WORK / "lines.json").read_text())
        control = _spawn(self.work[0][0], NOTHING, self._chosen(self.work[0][0], 0))
        self.ready = _ended(control, time.monotonic() + 10 * TIMEOUT_S)
        if not self.ready:
            return True
        waiting, running = list(reversed(self.work)), dict[int, tuple[str, Mutant, float]]()
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                self._begin(*waiting.pop(), running)
            for pid, (module, mutant, until) in list(running.items()):
                if _is_over(pid, until):  # one that never ends holds up no other
                    del running[pid]
                    self._note(module, mutant, "survived" if _ended(pid, until) else "noticed")
            time.sleep(0.005)
        return True

    def _begin(self, module: str, number: int, running: dict[int, tuple[str, Mutant, float]]) -> None:
        mutant = _of(module)[number]
        tests = self._chosen(module, mutant.line)
        if (module, mutant.place, mutant.change) in self.excused:
            self._note(module, mutant, "excused")
        elif not tests:
            self._note(module, mutant, "unseen")
        else:
            source, path = (ROOT / module).read_text(), str(ROOT / module)
            swaps = list(_swaps(compile(mutated(source, number), path, "exec"), compile(source, path, "exec")))
            if None in swaps:
                pid = _spawn(module, number, tests)
            else:
                pid = self._fork(lambda: self._try([swap for swap in swaps if swap], tests))
            running[pid] = module, mutant, time.monotonic() + TIMEOUT_S

    def _note(self, module: str, mutant: Mutant, fate: str) -> None:
        self.tried.append(Tried(module, mutant, fate))
        if fate in {"survived", "unseen"}:
            print(f"{fate}: {module}:{mutant.line}: in {mutant.place}: {mutant.change}", flush=True)
        mine = [each.fate for each in self.tried if each.module == module]
        if len(mine) == sum(each == module for each, _ in self.work):
            print(share_line(module, Counter(mine)), flush=True)

    def _chosen(self, module: str, line: int) -> list[str]:
        """Give the tests for a change on a line; what none passes over may have its effect anywhere, once imported."""
        left, some = BUDGET_S, []
        every = sorted(self.items, key=lambda name: (not _is_own(name, module), float(self.lines["took"][name][0])))
        for name in self.lines.get(module, {}).get(str(line)) or every:
            left -= float(self.lines["took"][name][0])
            if left < 0 and some:
                break
            some.append(name)
        return some

    # -- in a process of its own

    def _fork(self, do: Callable[[], bool], *, bounded: bool = True) -> int:
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            os.setpgid(0, 0)
            for item in list(self.items.values())[:1]:
                item.config._tmp_path_factory._given_basetemp = WORK / str(os.getpid())  # noqa: SLF001 - no other way
            _quiet(bounded=bounded)
            status = 0 if do() else 1
        finally:
            os._exit(status)

    def _try(self, swaps: list[tuple[CodeType, CodeType]], tests: list[str]) -> bool:
        """Run tests with changed functions; say whether none fails."""
        changed = {(old.co_qualname, old.co_firstlineno): (old, new) for old, new in swaps}
        n_swapped = 0
        for each in self.functions:
            old, new = changed.get((each.__code__.co_qualname, each.__code__.co_firstlineno), (None, None))
            if old is not None and new is not None and old.co_filename == each.__code__.co_filename:
                each.__code__ = new
                n_swapped += 1
        self._forget()
        return n_swapped == 0 or self._run(tests)  # without a function that has it, the change survives

    def _run(self, tests: list[str], begin: Callable[[str], None] = lambda _: None) -> bool:
        """Run tests up to the first that fails; say whether none does."""
        for name, then in zip(tests, [*tests[1:], ""], strict=True):
            begin(name)
            reports = runtestprotocol(self.items[name], log=False, nextitem=self.items.get(then))
            if any(each.failed for each in reports):
                return False
        return True

    def _forget(self) -> None:
        for each in self.caches:
            each.cache_clear()

    def _learn(self) -> bool:
        """Run all tests, and write down which of them pass over which line; say whether none fails."""
        import coverage

        os.environ["COVERAGE_CORE"] = "ctrace"  # which tells tests apart
        measured = coverage.Coverage(data_file=None, include=[str(ROOT / "rondo_core/model/*")], config_file=False)
        began: dict[str, float] = {}

        def begin(name: str) -> None:
            self._forget()  # what a cache remembers of another test would hide lines from this one
            began[name] = sum(os.times()[:4])  # CPU time: on a busy machine the clock's would leave hardly a test
            measured.switch_context(name)

        measured.start()
        passed = self._run(list(self.items), begin)
        measured.stop()
        ends = [*list(began.values())[1:], sum(os.times()[:4])]
        took = {name: end - start for (name, start), end in zip(began.items(), ends, strict=True)}
        found: Lines = {"took": {name: [str(seconds)] for name, seconds in took.items()}}
        data = measured.get_data()
        for file in data.measured_files():
            lines = {str(line): [each for each in by if each] for line, by in data.contexts_by_lineno(file).items()}
            module = str(Path(file).relative_to(ROOT))
            found[module] = {at: sorted(by, key=lambda each: took[each]) for at, by in lines.items()}
        (WORK / "lines.json").write_text(json.dumps(found))
        return passed


def _is_own(test: str, module: str) -> bool:
    """Say whether a test lies in the file that is called after the module."""
    return Path(test.partition("::")[0]).stem == f"test_{Path(module).stem}"


def _spawn(module: str, number: int, tests: list[str]) -> int:
    program = [sys.executable, __file__, "--alone", str(number), module, *tests]
    return os.posix_spawn(sys.executable, program, os.environ, setpgroup=0)


def _swaps(new: CodeType, old: CodeType) -> Iterator[tuple[CodeType, CodeType] | None]:
    """Pair the functions that differ, the outermost of each; None where something outside of functions does."""
    parts = [tuple(each for each in code.co_consts if isinstance(each, CodeType)) for code in (new, old)]
    own = [
        (code.co_code, tuple(each for each in code.co_consts if not isinstance(each, CodeType)), code.co_names)
        for code in (new, old)
    ]
    # Constants compare by what they are, so that 1 is not taken for True.
    if repr(own[0]) != repr(own[1]) or len(parts[0]) != len(parts[1]):
        yield None
        return
    for inner, before in zip(*parts, strict=True):
        if inner == before:
            continue
        if not before.co_flags & 0x1:  # CO_OPTIMIZED: a function; the body of a class is none
            yield from _swaps(inner, before)
        else:
            yield None if inner.co_freevars != before.co_freevars else (before, inner)


def _quiet(*, bounded: bool) -> None:
    """Say nothing, and take no more than a test needs, whatever the change makes of a size."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    if not bounded:
        return
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 20, 256 << 20))


def _alone(module: str, number: int, tests: list[str]) -> int:
    """Run tests where a module is imported as changed; 0: none has failed."""
    _quiet(bounded=number != NOTHING)
    path = str(ROOT / module)
    source = Path(path).read_text()
    code: Any = compile(source if number == NOTHING else mutated(source, number), path, "exec")
    original = SourceFileLoader.get_code
    SourceFileLoader.get_code = lambda self, name: code if self.path == path else original(self, name)  # type: ignore[method-assign,assignment]
    own = [name for name in tests if _is_own(name, module)]
    for part in (own, [name for name in tests if not _is_own(name, module)]):  # most changes end with the first few
        if part and (status := int(pytest.main([*PYTEST, f"--basetemp={WORK / str(os.getpid())}", *part]))):
            return status
    return 0


def _is_over(pid: int, until: float) -> bool:
    """Say whether a child has ended, which is left to be waited for, or its time is up."""
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return found is not None or time.monotonic() >= until


def _ended(pid: int, until: float) -> bool:
    """Wait for a child, up to an instant of `monotonic`; say whether no test failed in it."""
    while not (found := os.waitpid(pid, os.WNOHANG))[0] and time.monotonic() < until:
        time.sleep(0.005)
    if not found[0]:
        os.killpg(pid, signal.SIGKILL)
        found = os.waitpid(pid, 0)
    shutil.rmtree(WORK / str(pid), ignore_errors=True)
    return os.waitstatus_to_exitcode(found[1]) == 0


def _share(fates: Counter[str]) -> float:
    total = sum(fates.values()) - fates["excused"]
    return 100.0 * fates["noticed"] / total if total else 100.0


def share_line(what: str, fates: Counter[str]) -> str:
    """Say how many changes of a module, or of all, were noticed."""
    total, excused = sum(fates.values()) - fates["excused"], fates["excused"]
    return f"{what:40} {fates['noticed']:5} of {total:5} noticed, {_share(fates):5.1f} %; {excused} excused"


def report(tried: list[Tried], excused: dict[Any, str], floor: float, *, whole: bool) -> int:
    """Say how many of all were noticed; 1 where that is too few."""
    fates = Counter(each.fate for each in tried)
    print(share_line("all", fates))
    there = {(each.module, each.mutant.place, each.mutant.change) for each in tried}
    gone = [key for key in excused if key not in there] if whole else []
    for key in gone:
        print("mutants.toml: no such change any more:", *key)
    return 1 if _share(fates) < floor or gone else 0


if __name__ == "__main__":
    sys.exit(main())
