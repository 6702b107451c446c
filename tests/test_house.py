"""The house rules that a machine can hold: who imports whom, how long things are, what is not done."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("pipeline", "training", "eval", "kintsugi")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}

BELOW = {
    "pipeline": {"pipeline"},
    "training": {"pipeline", "training"},
    "eval": {"pipeline", "eval"},
    "kintsugi": set(PACKAGES),
}
"""Which of our packages each package may import."""

GROUND_FLOOR = {
    "pipeline.failures": set(),
    "pipeline.spans": {"pipeline.failures"},
    "pipeline.store": {"pipeline.failures"},
    "pipeline.records": {"pipeline.failures", "pipeline.spans"},
}
"""The modules that everything stands on, and all that each may import of ours."""

NODES = [name for name in MODULES if name.endswith(".nodes")]
HEAVY = {"torch", "ray", "vllm", "transformers", "deepspeed", "peft"}

AT_HOME = {
    "ray": {
        "pipeline.cluster",
        "pipeline.llm.served",
        "pipeline.runner",
        "training.launch",
        "training.worker",
        "eval.versus_by_ranker",
        "eval.serving",
        "kintsugi.jobs",
        "kintsugi.sweep.steering",
        "kintsugi.sweep.trial",
        "kintsugi.sweep.tuning",
    },
    "deepspeed": {"training.checkpoint", "training.engine"},
    "vllm": {"pipeline.llm.no_repeat", "pipeline.llm.vllm"},
    "peft": {"training.lora"},
}
"""The modules whose job a framework is: no other imports it, at any level."""

FILE_LINES = 400
FUNCTION_LINES = 55


@cache
def tree(name):
    return ast.parse(MODULES[name].read_text(encoding="utf-8"), str(MODULES[name]))


def imported(node, name):
    """The full names that one import statement of module `name` brings in; for `from a import b` both a and a.b."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if not isinstance(node, ast.ImportFrom):
        return set()
    base = node.module or ""
    if node.level:
        here = name.split(".") if MODULES[name].name == "__init__.py" else name.split(".")[:-1]
        base = ".".join([*here[: len(here) - node.level + 1], *([base] if base else [])])
    return {base} | {f"{base}.{alias.name}" for alias in node.names}


@cache
def imports(name):
    """Everything that a module imports, wherever in it."""
    return set().union(*(imported(node, name) for node in ast.walk(tree(name))))


@cache
def imports_when_loaded(name):
    """What a module imports outside functions; what stands under `if TYPE_CHECKING` is never run."""
    found, open_nodes = set(), list(tree(name).body)
    while open_nodes:
        node = open_nodes.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            open_nodes += node.orelse
            continue
        found |= imported(node, name)
        open_nodes += ast.iter_child_nodes(node)
    return found


def top(names):
    return {name.partition(".")[0] for name in names}


def ours(names):
    """Those of the names that are modules of ours."""
    return {name for name in names if name in MODULES}


def calls(name):
    return [node for node in ast.walk(tree(name)) if isinstance(node, ast.Call)]


# Who imports whom


def test_the_packages_are_found():
    assert {name.partition(".")[0] for name in MODULES} == set(PACKAGES)
    assert len(MODULES) > 40
    assert set(GROUND_FLOOR) <= set(MODULES)
    assert {"pipeline.nodes", "training.nodes", "eval.nodes"} <= set(NODES)


@pytest.mark.parametrize(("text", "expected"), [
    ("import ray.data", {"ray.data"}),
    ("from ray import data, train", {"ray", "ray.data", "ray.train"}),
    ("from . import spans", {"pipeline", "pipeline.spans"}),
    ("from .spans import Span", {"pipeline.spans", "pipeline.spans.Span"}),
])  # fmt: skip
def test_import_statements_are_understood(text, expected):
    assert imported(ast.parse(text).body[0], "pipeline.records") == expected


def test_what_is_imported_inside_a_function_is_told_from_what_is_imported_on_loading():
    assert "torch" in imports_when_loaded("training.losses")
    assert "ray" in imports("pipeline.cluster")
    assert "ray" not in imports_when_loaded("pipeline.cluster")


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package):
    allowed = BELOW[package]
    wrong = {
        name: sorted(top(imports(name)) & set(PACKAGES) - allowed)
        for name in MODULES
        if name.partition(".")[0] == package and top(imports(name)) & set(PACKAGES) - allowed
    }
    assert wrong == {}


@pytest.mark.parametrize("name", GROUND_FLOOR)
def test_the_ground_floor_stands_on_nothing_above_it(name):
    found = imports(name)
    assert ours(found) - {"pipeline"} <= GROUND_FLOOR[name]
    assert top(found) & HEAVY == set()


@pytest.mark.parametrize("framework", AT_HOME)
def test_frameworks_are_used_only_where_they_are_at_home(framework):
    users = {name for name in MODULES if framework in top(imports(name))}
    assert users - AT_HOME[framework] == set()
    assert users, f"nobody imports {framework}: is this test still looking in the right place?"


def test_eval_is_imported_by_from_so_that_the_builtin_keeps_its_name():
    for name in MODULES:
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.Import):
                assert "eval" not in top({alias.name for alias in node.names}), f"{name}, line {node.lineno}"


@pytest.mark.parametrize("name", NODES)
def test_node_kinds_import_nothing_heavy_when_loaded(name):
    assert top(imports_when_loaded(name)) & HEAVY == set()


def test_planning_really_loads_nothing_heavy():
    program = "; ".join([
        "import importlib, sys",
        f"[importlib.import_module(name) for name in {[*NODES, 'kintsugi.graph', 'kintsugi.cli']!r}]",
        f"print(sorted({HEAVY!r} & set(sys.modules)))",
    ])  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


# How long things are


def test_no_file_is_too_long():
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > FILE_LINES} == {}


def test_no_function_is_too_long():
    lengths = {
        f"{name}.{node.name}": node.end_lineno - node.lineno + 1
        for name in MODULES
        for node in ast.walk(tree(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(lengths) > 200
    assert {name: length for name, length in lengths.items() if length > FUNCTION_LINES} == {}


# What is not done


def test_nobody_unpickles_or_runs_a_string():
    forbidden = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    assert {name for name in MODULES if top(imports(name)) & forbidden} == set()


def test_yaml_is_read_safely():
    readers = {"load", "load_all", "unsafe_load", "unsafe_load_all", "full_load", "full_load_all"}
    for name in MODULES:
        for call in calls(name):
            if ast.unparse(call.func) in {f"yaml.{reader}" for reader in readers}:
                raise AssertionError(f"{name}, line {call.lineno}: {ast.unparse(call)}")
        assert not imports(name) & {f"yaml.{reader}" for reader in readers}, name
        loaders = {f"yaml.{loader}" for loader in ("Loader", "UnsafeLoader", "FullLoader")}
        used = {ast.unparse(node) for node in ast.walk(tree(name)) if isinstance(node, ast.Attribute)}
        assert not used & loaders, name


def test_nobody_trusts_code_that_comes_with_a_model():
    for name in MODULES:
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert ast.unparse(node.value) == "False", f"{name}, line {node.lineno}"
            if isinstance(node, ast.Dict):
                keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
                assert "trust_remote_code" not in keys, f"{name}, line {node.lineno}"


def test_tensors_are_loaded_without_pickle():
    for name in MODULES:
        for call in calls(name):
            if ast.unparse(call.func) == "torch.load":
                options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
                assert options.get("weights_only") == "True", f"{name}, line {call.lineno}"


def test_there_are_no_init_files_under_tests():
    """With --import-mode=importlib a package of tests called `eval` or `kintsugi` would hide ours."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []
