"""The house rules: who may import whom, names and sizes of modules, what an import loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gaugeflow

ROOT = Path(gaugeflow.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
BACKENDS = sorted((Path(__file__).parents[1] / "backends").rglob("*.py"))

# A package may import those of lower rank and itself; packages of equal rank do not know each other.
RANK = {
    "namespaces": -1,
    "typing": 0,
    "runfile": 1,
    "errors": 0,
    "lending": 0,
    "filesystem": 1,
    "progress": 1,
    "backend": 1,
    "lattice": 1,
    "tree": 1,
    "devices": 2,
    "domains": 4,
    "sites": 2,
    "kernels": 3,
    "random": 4,
    "groups": 4,
    "operators": 5,
    "solvers": 6,
    "determinants": 7,
    "actions": 8,
    "nn": 8,
    "flows": 9,
    "priors": 9,
    "samplers": 10,
    "training": 10,
    "check": 10,
    "ensembles": 11,
    "systems": 12,
    "bench": 12,
    "cli": 13,
    "embed": 14,
}
# These stand apart: they may import what is listed, and only systems, ensembles, training and cli import them.
APART = {
    "analysis": set(),
    "plots": {"analysis"},
    "interop": {"lattice", "backend"},
    "io": {"typing", "errors", "filesystem", "lattice", "interop"},
    "observables": {"typing", "errors", "lattice", "backend", "sites", "kernels", "groups"},
    "hadrons": {
        "typing",
        "errors",
        "lattice",
        "backend",
        "sites",
        "kernels",
        "random",
        "groups",
        "operators",
        "solvers",
    },
}
USERS_OF_APART = {"systems", "ensembles", "training", "cli", "embed"}
NUMPY = {
    "analysis",
    "io",
    "random",
    "systems",
    "cli",
    "bench",
    "lattice",
    "domains",
    "plots",
    "ensembles",
    "training",
    "interop",
    "embed",
}


def _part(path):
    """First name below the package: ``kernels`` for kernels/gauge.py."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imports(path):
    """Modules that a file imports by statement, at any depth, with the names taken from packages."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "gaugeflow":
                yield from (f"gaugeflow.{alias.name}" for alias in node.names if alias.name != "__version__")
            else:
                yield node.module


def _allowed(part):
    if part in APART:
        return APART[part] | {part, "namespaces"}
    below = {name for name, rank in RANK.items() if rank < RANK[part]} | {part}
    if part == "lattice":
        below -= {"backend", "tree"}
    return below | (set(APART) if part in USERS_OF_APART else set())


def _name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_go_down_only(path):
    part = _part(path)
    if part == "__init__":
        assert not [m for m in _imports(path) if m.startswith("gaugeflow")]
        return
    assert part in RANK or part in APART, f"{part}: give this package its place in the order of imports"
    own = {m.split(".")[1] for m in _imports(path) if m.startswith("gaugeflow.")}
    assert own <= _allowed(part), f"{_name(path)} must not import {sorted(own - _allowed(part))}"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_foreign_imports(path):
    foreign = {m.partition(".")[0] for m in _imports(path)} - {"gaugeflow"}
    assert not foreign & {"gaugeflow_numba", "gaugeflow_cupy", "numba", "cupy", "torch", "jax", "tensorflow"}
    if "numpy" in foreign:
        assert _part(path) in NUMPY, "use array_namespace(x)"
    if "h5py" in foreign:
        assert _part(path) in {"io", "ensembles", "samplers"}  # samplers: checkpoints
    if "matplotlib" in foreign:
        assert _part(path) in {"systems", "cli", "plots"}


@pytest.mark.parametrize("path", MODULES + BACKENDS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_names_and_sizes(path):
    assert path.stem not in {"utils", "util", "core", "common", "helpers", "helper", "misc"}
    assert len(path.read_text().splitlines()) <= 450, "split this module: the house keeps them near 400 lines"


def test_import_is_light():
    """``import gaugeflow`` loads no back end, no plotting and no file formats; nor does an action."""
    heavy = "{'numba', 'cupy', 'matplotlib', 'h5py', 'scipy', 'click', 'rich'}"
    code = f"import sys, gaugeflow; found = {heavy} & set(sys.modules); assert not found, found\n"
    code += "import gaugeflow.actions, gaugeflow.observables, gaugeflow.check\n"
    code += f"found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
