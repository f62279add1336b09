"""How the house stays in order: layers, sizes, who may use what, docs that mirror code."""

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from rondo_core import Store, errors, hookspecs
from rondo_core.model import layout
from rondo_job import hookspecs as job_hookspecs
from rondo_vmm import errors as vmm_errors
from rondo_vmm import hookspecs as vmm_hookspecs
from rondo_web import errors as web_errors

ROOT = Path(__file__).parents[2]
CORE = ROOT / "rondo_core"
# Each package, and what it may import of ours, bottom up.
BELOW = {
    "rondo_core": (),
    "rondo_promql": (),
    "rondo_vmm": ("rondo_core",),
    "rondo_web": ("rondo_core", "rondo_promql"),
    "rondo_job": ("rondo_core", "rondo_promql", "rondo_web"),
    "rondo_bridges": ("rondo_core",),
    "rondo_cli": ("rondo_core", "rondo_promql", "rondo_vmm", "rondo_web", "rondo_job"),
}
PACKAGES = tuple(BELOW)
# Bottom up: what lies in a folder, or a module at the top, may import its own floor and those below it.
FLOORS = {
    "rondo_core": (
        "errors clock units faults signals lazy forking",
        "model",
        "storage",
        "fold",
        "record",
        "hookspecs plugins",
        "read",
        "export",
        "maintain",
        "retention",
        "store",
        "opening",
        "builtin testing frozen",
    ),
    "rondo_vmm": (
        "errors",
        "config memory rlimits",
        "hookspecs",
        "observe",
        "devices",
        "boot",
        "machine",
        "kvm soft",
        "plugins",
        "qemu firecracker",
        "discovery",
        "schemas",
        "build",
        "monitor",
    ),
    "rondo_promql": (
        "errors",
        "budget language",
        "arrays",
        "source",
        "functions",
        "operators",
        "evaluation",
        "results",
        "engine",
    ),
    "rondo_job": (
        "facts request streams",
        "files",
        "life",
        "groups",
        "processes",
        "describe ending hookspecs schemas",
        "plugins start",
        "recording",
        "run",
        "autopsy",
        "reports",
        "comparison",
        "pytest_plugin",
    ),
    "rondo_web": (
        "errors listening",
        "reading sidecar",
        "http",
        "metrics page prometheus",
        "application",
        "server",
        "agent_server",
        "__main__",
    ),
    "rondo_bridges": (
        "durations failures process_store",
        "http readings",
        "asgi celery opentelemetry prometheus prometheus_multiprocess wsgi",
    ),
    "rondo_cli": (
        "expressions follow measure params printing render render_result terminal",
        "answers top_table",
        "vmm_run",
        "export_dry_run vmm_many",
        "agent alert autopsy bench check compare config copy edit export export_status info lake ls mark migrate plan plugin plugins prune query repair report run serve set top vmm watch",
        "main",
        "__main__",
    ),
}
FLOOR_OF = {
    package: {name: floor for floor, names in enumerate(floors) for name in names.split()}
    for package, floors in FLOORS.items()
}
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
EXPORTERS = sorted((ROOT / "rondo_exporters").glob("*/rondo_exporter_*/*.py"))


def imports(path):
    """Every module that a file imports, wherever in it, but for those only types need."""
    found = set()
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", [*MODULES, *EXPORTERS], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_can_be_read_in_a_sitting(path):
    """No module has more than 500 lines, and none is called after nothing."""
    assert len(path.read_text().splitlines()) <= 500
    assert path.stem not in {"utils", "helpers", "common", "misc"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_its_own_floor_or_lower_ones(path):
    """The tree is the rule: a module's floor is that of the folder it lies in."""
    package, place = path.relative_to(ROOT).with_suffix("").parts[:2]
    if place == "__init__":
        return
    floors = FLOOR_OF[package]
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == package and len(parts) > 1 and parts[1] in floors:
            assert floors[parts[1]] <= floors[place], f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_has_a_floor(package):
    """A new folder or module at the top is put on its floor here, and nothing that is gone stays in the list."""
    top = [path for path in (ROOT / package).iterdir() if path.name != "__pycache__"]
    there = {path.stem for path in top if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert there - {"__init__"} == set(FLOOR_OF[package])
    assert package == "rondo_cli" or len([path for path in top if path.is_file()]) <= 12  # a module a command


def test_packages_import_those_below_them():
    """Wherever in a module: the core imports none of ours, and no package one that stands above or beside it."""
    assert {path.parent.name for path in ROOT.glob("rondo_*/__init__.py")} == set(PACKAGES)
    for package, below in BELOW.items():
        for path in (ROOT / package).rglob("*.py"):
            ours = {name.split(".")[0] for name in imports(path)} & set(PACKAGES)
            assert ours <= {package, *below}, path.relative_to(ROOT)


def test_whatever_lists_the_packages_lists_them_all():
    """What is built, sorted and checked for types; a package that is missing is missed first by a user."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    tools = project["tool"]
    targets = tools["hatch"]["build"]["targets"]
    for listed in (
        targets["wheel"]["packages"],
        targets["sdist"]["include"],
        tools["ruff"]["lint"]["isort"]["known-first-party"],
        tools["mypy"]["files"],
        tools["coverage"]["run"]["source_pkgs"],
    ):
        assert set(PACKAGES) <= set(listed), listed
    page = (ROOT / "docs" / "contributing" / "architecture.md").read_text()
    wheels = (ROOT / "scripts" / "use_wheels.sh").read_text()
    for package in PACKAGES:
        assert f"\n{package}/ " in page, package
        assert re.search(rf"^import .*\b{package}\b", wheels, re.MULTILINE), package


def test_peers_never_import_each_other_in_a_loop():
    """Modules may import peers, wherever in a module, but never come back to themselves."""
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in MODULES}
    edges = {name: imports(path) & set(names.values()) for path, name in names.items() if path.stem != "__init__"}
    settled = set()

    def walk(name, above):
        assert name not in above, " -> ".join([*above, name])
        if name not in settled:
            for each in sorted(edges.get(name, ())):
                walk(each, [*above, name])
            settled.add(name)

    for name in edges:
        walk(name, [])
    assert len(settled) > 100


@pytest.mark.parametrize("what", ["firecracker", "qemu"])
def test_a_watcher_loads_no_monitor_and_no_machine(what):
    """Who records a machine that runs elsewhere pays for none of his own: no CPU, no device, no kernel's format."""
    code = f"import sys\nimport rondo_cli.watch, rondo_vmm.{what}.watch\nprint(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    below = {name for name in said if name.startswith("rondo_vmm.")}
    assert f"rondo_vmm.{what}.watch" in below
    unwanted = r"rondo_vmm\.(monitor|build|machine|kvm|soft|devices|boot|memory|qemu\.(machine|process))\b"
    assert not [name for name in below if re.match(unwanted, name)]


def test_what_the_core_offers_plugin_authors_for_tests_is_imported_by_nobody():
    """rondo_core.testing needs pytest; no module that runs imports it."""
    for path in MODULES:
        if "testing" not in path.parts:
            assert not any(name.startswith("rondo_core.testing") for name in imports(path)), path


def test_the_command_line_reaches_exporters_by_entry_point_only():
    """No package of ours imports one of the exporters' projects."""
    for path in MODULES:
        assert not any(name.startswith("rondo_exporter") for name in imports(path)), path


def test_numpy_is_where_whole_tables_are():
    """At the top of files in fold/, read/ and maintain/, and nowhere in record/: recording loads none of its 14 MB."""
    for path in sorted(CORE.rglob("*.py")):
        names = {name.split(".")[0] for name in imports(path)}
        inside = re.findall(r"^ +(?:import|from) numpy", path.read_text(), re.MULTILINE)
        place = path.relative_to(CORE).parts[0]
        if place == "record":
            assert "numpy" not in names, path
        elif place in {"fold", "read", "maintain"}:
            assert not inside, path


def test_an_interpreter_without_the_gil_is_refused_in_one_line():
    """Recording counts on a store between two calls being alone; nothing else would notice."""
    code = "import sys\nsys._is_gil_enabled = lambda: False\nimport rondo_core"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: rondo: this interpreter runs without the GIL")


# The modules that are public as a whole; else, what the `__init__` of a package or a folder of the core offers.
PUBLIC_MODULES = {
    "rondo_core": {"errors", "clock", "units", "hookspecs", "lazy", "signals", "testing"},
    "rondo_promql": {"errors"},
    "rondo_web": set(),
}


def offered(package):
    """The public names of a package or one of its folders, and that they are what type checkers see."""
    path = ROOT.joinpath(*package.split("."), "__init__.py")
    module = importlib.import_module(package)
    names = set(getattr(module, "__all__", ()))
    tree = ast.parse(path.read_text())
    typed = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        for each in node.body
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
        if alias.asname
    }
    assert package == "rondo_core.testing" or typed == names
    return names


@pytest.mark.parametrize(
    "package", [*PUBLIC_MODULES, *(f"rondo_core.{path.parent.name}" for path in CORE.glob("*/__init__.py"))]
)
def test_a_public_name_can_be_had_and_is_shown(package):
    """Editors and Jupyter complete the public names; each of them is there."""
    names = offered(package)
    module = importlib.import_module(package)
    for name in names:
        assert getattr(module, name) is not None
    if names and package != "rondo_core.testing":
        assert set(dir(module)) == names


def test_the_type_checker_is_asked_about_every_public_name():
    """tests/typing uses each of them, and says what it is; `make check` reads that."""
    said = "".join(path.read_text() for path in (ROOT / "tests/typing").glob("*.py"))
    used = {node.id for node in ast.walk(ast.parse(said)) if isinstance(node, ast.Name)}
    for package in ["rondo_core", *(f"rondo_core.{path.parent.name}" for path in CORE.glob("*/__init__.py"))]:
        assert offered(package) - used == set(), package


@pytest.mark.parametrize("package", PUBLIC_MODULES)
def test_other_packages_import_only_what_is_public(package):
    """So that what lies below may change; tests and benchmarks may look inside."""
    public = PUBLIC_MODULES[package]
    for path in [path for path in MODULES if package not in path.relative_to(ROOT).parts] + EXPORTERS:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [(alias.name, "") for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [(node.module, alias.name) for alias in node.names]
            for module, name in names:
                if module.split(".")[0] != package:
                    continue
                parts = module.split(".")[1:]
                if (parts and parts[0] in public) or not (parts or name):  # the package itself
                    continue
                folder = ".".join([package, *parts[:1]])
                wanted = parts[1] if len(parts) > 1 else name
                assert len(parts) < 3, f"{path}: {module}"
                assert wanted in offered(folder) or (folder == package and wanted in public), f"{path}: {module}.{name}"


def test_the_core_imports_only_what_it_may():
    """The standard library, numpy, msgpack, attrs and pluggy, on which the monitor and the command line depend too; and
    orjson, where it is installed, in the one module that writes numbers as text."""
    allowed = set(sys.stdlib_module_names) | {"numpy", "msgpack", "attrs", "pluggy", "cython", "rondo_core"}
    for path in CORE.rglob("*.py"):
        extra = {"pytest", "hypothesis"} if "testing" in path.parts else set()
        extra |= {"orjson"} if path == CORE / "builtin/row_text.py" else set()
        assert {name.split(".")[0] for name in imports(path)} <= allowed | extra, path


def test_the_monitor_imports_only_what_it_may():
    """The core and the standard library; others only in soft/, in qemu/, and in boot/ what unpacks kernels."""
    allowed = set(sys.stdlib_module_names) | {"attrs", "rondo_core", "rondo_vmm"}
    others = {"soft": {"unicorn"}, "qemu": {"qemu"}, "boot": {"lz4", "zstandard"}}
    for path in (ROOT / "rondo_vmm").rglob("*.py"):
        extra = {"cython"} if path.with_suffix(".pxd").exists() else others.get(path.parent.name, set())
        assert {name.split(".")[0] for name in imports(path)} <= allowed | extra, path


def test_the_api_imports_only_what_it_may():
    """The core, attrs, and what the extra `web` brings; RE2 where a pattern is compiled, and the engine where it is asked."""
    allowed = set(sys.stdlib_module_names) | {"attrs", "h11", "rondo_core", "rondo_web", "starlette", "uvicorn"}
    for path in (ROOT / "rondo_web").rglob("*.py"):
        extra = {"re2"} if path.name == "regex.py" else set()
        extra |= {"numpy", "orjson", "promql_parser", "rondo_promql"} if path.parent.name == "prometheus" else set()
        assert {name.split(".")[0] for name in imports(path)} <= allowed | extra, path


def test_the_query_engine_imports_only_what_it_may():
    """The standard library and numpy; the parser where queries are parsed, RE2 where an expression is compiled."""
    allowed = set(sys.stdlib_module_names) | {"numpy", "rondo_promql"}
    others = {"parsing.py": {"promql_parser"}, "matchers.py": {"re2"}}
    for path in (ROOT / "rondo_promql").rglob("*.py"):
        extra = others.get(path.name, set())
        assert {name.split(".")[0] for name in imports(path)} <= allowed | extra, path


def test_a_bridge_imports_only_what_it_is_to():
    """The core, and no library but the one that the module is called after: who uses one needs no other."""
    allowed = set(sys.stdlib_module_names) | {"rondo_core", "rondo_bridges"}
    others = {"celery": "celery", "opentelemetry": "opentelemetry"}
    for path in (ROOT / "rondo_bridges").rglob("*.py"):
        place = path.relative_to(ROOT / "rondo_bridges").with_suffix("").parts[0]
        extra = {"prometheus_client"} if place.startswith("prometheus") else {others.get(place, place)}
        assert {name.split(".")[0] for name in imports(path)} <= allowed | extra, path


def test_no_module_imports_the_builtin_plugins():
    """They are found by entry point, like anyone's."""
    for path in MODULES:
        if "builtin" not in path.parts:
            assert not any(name.startswith("rondo_core.builtin") for name in imports(path)), path


def test_only_clock_reads_the_time():
    """Everywhere else the time is an argument."""
    for path in CORE.rglob("*.py"):
        if path.name not in {"clock.py", "runner.py", "handles.py", "gauges.py", "batches.py", "timing.py"}:
            assert "time" not in imports(path), path
            assert not re.search(r"\.(now|utcnow|today)\(", path.read_text()), path


def test_only_one_place_prints():
    """What a command says goes through `rondo_cli.printing`, which lets nobody's text steer the terminal."""
    allowed = {
        "printing.py": 1,
        "migrate.py": 1,
        "vmm_run.py": 2,
        "vmm_many.py": 1,
        "__main__.py": 1,
    }
    written = r"click\.echo\(|\bprint\(|std(out|err)(\.buffer)?\.write\(|secho\("
    for path in [*(ROOT / "rondo_cli").glob("*.py"), *(ROOT / "rondo_web").rglob("*.py")]:
        assert len(re.findall(written, path.read_text())) <= allowed.get(path.name, 0), path


def test_only_plugins_uses_the_plugin_manager():
    """One place loads, binds and isolates."""
    for path in MODULES:
        if path.relative_to(ROOT).parts[:2] != ("rondo_core", "plugins"):
            assert "PluginManager" not in path.read_text(), path


def test_no_slab_is_written_with_pack_into():
    """struct.pack_into writes zeroes first, which readers would see."""
    for path in CORE.rglob("*.py"):
        assert not re.search(r"pack_into\(", path.read_text()), path


def test_exporters_are_projects_and_no_package():
    """Each has its own pyproject.toml; the folder above them is not importable."""
    folder = ROOT / "rondo_exporters"
    assert not (folder / "__init__.py").exists()
    for project in folder.iterdir():
        if project.is_dir():
            assert (project / "pyproject.toml").exists(), project


def untested(hooks, sources):
    """Name the hooks that no test is called after: `test_hook_NAME`, of two as `test_hook_ONE_and_OTHER`."""
    tests = [
        node.name
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_hook_")
    ]
    return {hook for hook in hooks if not any(re.search(rf"_{hook}(_|$)", test) for test in tests)}


def hooks_of(module):
    """Give the hooks that a module specifies."""
    source = ast.parse(Path(module.__file__).read_text())
    return [node for node in source.body if isinstance(node, ast.FunctionDef)]


def test_every_hook_has_a_test_and_one_that_is_removed_is_missed():
    """A test has the hook's whole name; without it, and with those of all others, that hook alone is found wanting."""
    hooks = [node.name for module in (hookspecs, vmm_hookspecs, job_hookspecs) for node in hooks_of(module)]
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    sources = [source for source in sources if "def test_hook_" in source]
    assert untested(hooks, sources) == set()
    for hook in hooks:
        gone = [re.sub(rf"def test_hook_(\w+_and_)?{hook}(?=[_(])", r"def test_hook_\1gone", each) for each in sources]
        assert untested(hooks, gone) == {hook}


def test_every_hook_is_documented():
    """Its exact signature heads a section of docs/hooks.md, and its docstring has the five parts."""
    docs = (ROOT / "docs" / "hooks.md").read_text()
    for module in (hookspecs, vmm_hookspecs, job_hookspecs):
        for node in hooks_of(module):
            signature = f"{node.name}({', '.join(argument.arg for argument in node.args.args)})"
            assert f"## `{signature}`" in docs, signature
            for part in ("Called:", "Args:", "Returns:", "Errors:"):
                assert part in ast.get_docstring(node), (node.name, part)


def test_every_error_has_one_root_and_pickles():
    """A command needs one `except`; an error that crosses a process boundary keeps its facts."""
    import copy
    import pickle

    modules = (errors, vmm_errors, web_errors)
    classes = {each for module in modules for each in vars(module).values() if isinstance(each, type)}
    classes = {each for each in classes if issubclass(each, BaseException)}
    assert len(classes) > 25
    for each in classes:
        assert issubclass(each, errors.RondoError)
        facts = {"KvmError": ("KVM_RUN", 22), "GuestMemoryError": (4096, 8, 64), "StoreLockedError": ("/s", 71)}
        error = each(*facts.get(each.__name__, ("what",)))
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
        assert str(copy.copy(error)) == str(error)
        assert "\n" not in str(error)


def test_the_storage_format_page_mirrors_the_layout():
    """Magic numbers, offsets and sizes in docs/storage-format.md are those of the code."""
    page = (ROOT / "docs" / "storage-format.md").read_text()
    for magic in (layout.SLAB_MAGIC, layout.JOURNAL_MAGIC, layout.RUNS_MAGIC, layout.EVENTS_MAGIC):
        assert magic.decode() in page
    assert f"version {layout.FORMAT_VERSION}" in page.splitlines()[0]
    assert f"| {layout.SLAB_HEADER.size} | | the table of cells" in page
    assert f"| {layout.SLAB_NEXT_WINDOW} | i64 | the first window" in page
    assert f"| {layout.ROW_HEADER_BYTES} | | one block per cell" in page
    assert f"{layout.RUNS_HEADER_BYTES} bytes of header" in page
    assert f"then {layout.RUN_COUNT} records of {layout.RUN_BYTES} bytes" in page
    assert f"4096 to {layout.MAX_EVENTS_FILE_BYTES} bytes: {layout.EVENTS_HEADER_BYTES} bytes of header" in page
    assert f"at most {layout.EVENT_BYTES} |" in page


def test_every_test_states_its_promise():
    """A test's docstring says what a user may rely on."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"


def loaded_by(*arguments):
    """The modules of a process that has run a command."""
    code = "import sys\nfrom rondo_cli.main import run\nrun(sys.argv[1:])\nprint()\nprint(*sys.modules)"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1].split())


def test_the_command_starts_without_what_it_does_not_need(tmp_path):
    """`rondo --help` imports no numpy and no exporter's libraries; neither that nor `rondo query` imports what serves."""
    serving = {"rondo_web", "starlette", "uvicorn", "asyncio", "re2"}
    assert not loaded_by("--help") & {"numpy", "requests", *serving}
    with Store(tmp_path / "s") as store:
        store.gauge("level").set(1.0)
    asked = loaded_by("query", tmp_path / "s", "level")
    assert not asked & serving
    assert "rondo_core.read.query" in asked


def test_a_program_that_records_loads_nothing_else(tmp_path):
    """Its store by name, its instruments and recorders load neither what reads and exports nor attrs with it."""
    code = "import sys\nfrom rondo_core import open_store\nstore = open_store('web')\nstore.counter('a_total').inc()\n"
    code += "with store.summary('s', quantiles=True).time(): store.tick()\nprint(store.unkept, *sys.modules)"
    known = {**os.environ, "RONDO_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=known)
    loaded = set(done.stdout.split())
    assert not loaded & {"numpy", "attr", "attrs", "asyncio", "json", "tomllib", "importlib.metadata", "subprocess"}
    assert not {name for name in loaded if name.startswith(("rondo_core.read.", "rondo_core.export."))}
    assert "rondo_core.builtin.process" in loaded


def test_a_machine_starts_without_what_its_start_does_not_need(tmp_path):
    """Neither attrs nor logging is loaded before the guest's first byte, which waits for each module that is."""
    code = "import sys\nimport rondo_cli.vmm, rondo_cli.vmm_run, rondo_vmm.kvm.machine\nfrom rondo_core import Store\n"
    code += "from rondo_vmm import VMM_SCHEMAS\nwith Store(sys.argv[1], VMM_SCHEMAS): print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "s"], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"numpy", "attr", "attrs", "logging", "asyncio", "json", "tomllib", "importlib.metadata"}
    assert {"rondo_vmm.monitor", "rondo_core.record.writer"} <= loaded


def test_what_is_asked_of_serving_before_it_starts_imports_no_server():
    """`rondo serve --help`, and a program that takes a port for a sidecar, load none of the packages of the extra `web`."""
    serving = {"starlette", "uvicorn", "asyncio", "re2", "numpy"}
    assert not loaded_by("serve", "--help") & serving
    code = "import sys\nfrom rondo_web import Sidecar, check_installed, listen, read_token\nwith listen('127.0.0.1', 0): read_token(None)\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "rondo_web.sidecar" in loaded
    assert not set(loaded) & serving
