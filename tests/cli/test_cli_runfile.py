"""Run files: what is accepted, and how everything else is refused."""

import math
import re
import tomllib
from dataclasses import MISSING, fields

import pytest

from gaugeflow.cli.assembly import make_sweep
from gaugeflow.cli.init import TEMPLATE
from gaugeflow.ensembles import SmearedForces
from gaugeflow.flows import Smearing
from gaugeflow.lattice import Lattice
from gaugeflow.runfile import (
    FlowSection,
    ObservablesSection,
    RunFile,
    SamplerSection,
    TargetSection,
    TrainingSection,
    read_runfile,
)
from gaugeflow.runfile.sections import SECTIONS

GOOD = """
[lattice]
shape = [8, 4, 4, 4]
fold = [2, 1, 1, 1]
[group]
n = 2
[source]
beta = 2
anisotropy = -0.1
[sampler]
configurations = 10
start = "cold"
[target]
beta = [2.1, 1.9]
[flow]
kind = "residual"
convolutions = [0, 2]
planes = "anisotropic"
[training]
method = "adam"
learning_rate = 1e-4
[observables]
names = ["plaquette", "t2_e"]
flow_time = 0.5
[output]
dir = "results"
precision = 32
"""


ALL = (SamplerSection, TargetSection, FlowSection, TrainingSection, ObservablesSection)


def _read(tmp_path, text, *used):
    path = tmp_path / "run.toml"
    path.write_text(text)
    return read_runfile(path, *(used or ALL))


def test_good_file(tmp_path):
    run = _read(tmp_path, GOOD)
    assert isinstance(run, RunFile)
    assert run.lattice.shape == (8, 4, 4, 4)
    assert run.source.beta == 2.0
    assert isinstance(run.source.beta, float)
    assert run.target.beta == (2.1, 1.9)
    assert run.require(FlowSection).sweeps == 1
    assert run.observables.names == ("plaquette", "t2_e")
    assert run.folder == tmp_path / "results"


def test_gradient_steps(tmp_path):
    """The run file's gradients reach the flow; without them it has its own."""
    flow = 'kind = "residual"\nconvolutions = [0, 2]'
    run = _read(tmp_path, GOOD.replace(flow, "gradient_steps = [2, 4, 12]"))
    sweep = make_sweep(run, Lattice(run.lattice.shape))
    assert sweep.fields == ("A", "Q", "Z", "G2", "G4", "G12")
    run = _read(tmp_path, GOOD.replace(flow, ""))
    assert make_sweep(run, Lattice(run.lattice.shape)).smearing == Smearing()


def test_forces(tmp_path):
    """Steps, weights and colours reach the fields, and colours are checked against the extents."""
    flow = 'kind = "forces"\ngradient_steps = [1, 6]\neta = [0.04, 0.08]\ncolours = 8'
    text = GOOD.replace('kind = "residual"\nconvolutions = [0, 2]', flow).replace('"adam"', '"least-squares"')
    run = _read(tmp_path, text)
    lattice = Lattice(run.lattice.shape)
    expected = SmearedForces(lattice, gradients=(1, 6), eta=(0.04, 0.08), anisotropic=True, colours=8)
    assert make_sweep(run, lattice) == expected
    with pytest.raises(ValueError, match=r"8 need extents that are multiples of 4, found \[6, 4, 4, 4\]"):
        _read(tmp_path, text.replace("[8, 4, 4, 4]", "[6, 4, 4, 4]"))


def test_one_number_is_a_list(tmp_path):
    assert _read(tmp_path, GOOD.replace("[2.1, 1.9]", "2.1")).target.beta == (2.1,)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "[sampler]",
            "[smapler]",
            "unknown section 'smapler' (did you mean 'sampler'?); allowed: fermions, flow, group",
        ),
        ("beta = 2\n", "beat = 2\n", "[source]: unknown key 'beat' (did you mean 'beta'?); allowed: action, aniso"),
        ("beta = 2\n", "", "missing: [source] beta (a number > 0). `gaugeflow init` writes"),
        ("beta = 2\n", "beta = -2\n", "[source] beta: expected a number > 0, found -2"),
        ("beta = 2\n", "beta = nan\n", "[source] beta: expected a number > 0, found nan"),
        ("beta = 2\n", "beta = true\n", "[source] beta: expected a number > 0, found True"),
        ("n = 2", "n = 2.0", "[group] n: expected an integer >= 1, found 2.0"),
        (
            "[8, 4, 4, 4]",
            "[8, 4, 4, 1]",
            "[lattice] shape: expected a list, each entry an integer >= 2, found [8, 4, 4, 1]",
        ),
        ("[8, 4, 4, 4]", "[]", "[lattice] shape: expected a list, each entry an integer >= 2, found []"),
        ("[8, 4, 4, 4]", "8", "[lattice] shape: expected two extents or more, found [8]"),
        ("[2, 1, 1, 1]", "[2, 1]", "[lattice] fold: expected 4 entries like shape, found [2, 1]"),
        ('"cold"', '"warm"', "[sampler] start: expected 'hot' | 'cold' | 'quenched', found 'warm'"),
        ('"adam"', '"adams"', "expected 'least-squares' | 'adam', found 'adams' (did you mean 'adam'?)"),
        ('"t2_e"', '"t2e"', "found ['plaquette', 't2e'] (did you mean 't2_e'?)"),
        ("precision = 32", "precision = 16", "[output] precision: expected 64 | 32, found 16"),
        ('dir = "results"', 'dir = ""', "[output] dir: expected text, found ''"),
        ("beta = [2.1, 1.9]", "", "[target]: expected either beta or anisotropy"),
        ("anisotropy = -0.1", 'files = "*.nersc"', "expected either [source] files or the section [sampler]"),
        ('[output]\ndir = "results"\nprecision = 32', "", "missing: [output] dir (text). "),
        ("[group]\nn = 2", "[[group]]\nn = 2", "group: expected a section [group], found [{'n': 2}]"),
        (
            'kind = "residual"',
            "",
            "[flow] convolutions: these belong to kind = 'residual', found kind = 'smeared'",
        ),
        (
            "convolutions = [0, 2]",
            "",
            "[flow] convolutions: missing; kind = 'residual' needs such numbers as [0, 1, 2]",
        ),
        (
            "[0, 2]",
            "[0, 2]\ngradient_steps = 2",
            "[flow] gradient_steps: these belong to kind = 'smeared' or 'forces', found kind = 'residual'",
        ),
        (
            'kind = "residual"\nconvolutions = [0, 2]',
            "gradient_steps = [4, 2]",
            "[flow] gradient_steps: expected increasing numbers, found [4, 2]",
        ),
        (
            'kind = "residual"\nconvolutions = [0, 2]',
            "colours = 2",
            "[flow] colours: this belongs to kind = 'forces', found kind = 'smeared'",
        ),
        (
            'kind = "residual"\nconvolutions = [0, 2]',
            'kind = "forces"\ncolours = 3',
            "[flow] colours: expected 1 | 2 | 4 | 8 | 16, found 3",
        ),
        (
            'kind = "residual"\nconvolutions = [0, 2]',
            'kind = "forces"\nsweeps = 2',
            "[flow] sweeps: expected 1 for kind = 'forces', found 2",
        ),
        (
            'kind = "residual"\nconvolutions = [0, 2]',
            'kind = "forces"\nforce_steps = [1, 0]',
            "[flow] force_steps: expected increasing numbers, found [1, 0]",
        ),
        (
            'kind = "residual"\nconvolutions = [0, 2]',
            'kind = "forces"\ngradient_steps = [0, 1]',
            "[flow] gradient_steps: expected positive numbers for kind = 'forces'",
        ),
        ("flow_time = 0.5", "", "[observables] flow_time: expected a number > 0 for ['t2_e'], found 0"),
        ('method = "adam"', "configurations = 19", "[training] configurations: expected an integer >= 20, found 19"),
        (
            'method = "adam"',
            'method = "adam"\nbatch = 1',
            "[training] batch: expected an integer >= 2 for the loss log-v",
        ),
        ("beta = [2.1, 1.9]", 'beta = [2.1, 1.9]\nfiles = "x"', "[target] files: expected 2 patterns, found ['x']"),
        ("[lattice]", "[lattice", "not TOML: "),
    ],
)
def test_refused(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(ValueError) as error:
        _read(tmp_path, GOOD.replace(old, new, 1))
    assert str(error.value).startswith(str(tmp_path / "run.toml"))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("shape", "n", "name", "message"),
    [
        (
            [8, 4],
            2,
            "q_squared",
            "'q_squared': expected four dimensions (clover charge) or U(1) in two (sum of angles)",
        ),
        ([8, 4, 4], 1, "q_squared", "found U(1) in 3"),
        ([8, 4], 1, "plaquette_spatial", "'plaquette_spatial': two dimensions have no spatial planes"),
        ([8, 4], 1, "q_squared", None),
        ([8, 4, 4], 1, "plaquette_spatial", None),
        ([8, 4, 4, 4], 2, "q_squared", None),
    ],
)
def test_observables_that_a_lattice_does_not_have(tmp_path, shape, n, name, message):
    """No observable that would silently be zero."""
    text = GOOD.replace("[8, 4, 4, 4]\nfold = [2, 1, 1, 1]", str(shape)).replace("n = 2", f"n = {n}")
    text = text.replace('["plaquette", "t2_e"]', f'["{name}"]')
    if message is None:
        assert _read(tmp_path, text).observables.names == (name,)
        return
    with pytest.raises(ValueError) as error:
        _read(tmp_path, text)
    assert message in str(error.value)


def test_missing_section_of_a_command(tmp_path):
    text = GOOD.split("[sampler]")[0].replace("beta = 2", 'beta = 2\nfiles = "x"') + '[output]\ndir = "x"'
    text += "\n[target]\nbeta = 2.1"
    with pytest.raises(ValueError, match=r"needs the section \[sampler\]"):
        _read(tmp_path, text).require(SamplerSection)


def test_optional_sections_have_defaults(tmp_path):
    """A file of what is necessary serves every command."""
    text = "[lattice]\nshape = [8, 8]\n[source]\nbeta = 2\n[sampler]\nconfigurations = 9\n[target]\nbeta = 2.1\n"
    run = _read(tmp_path, text + "[output]\ndir = 'x'")
    assert (run.flow, run.training, run.observables) == (FlowSection(), TrainingSection(), ObservablesSection())


def test_everything_missing_is_named_at_once(tmp_path):
    with pytest.raises(ValueError) as error:
        _read(tmp_path, "[lattice]\n[training]")
    assert str(error.value) == (
        f"{tmp_path / 'run.toml'}: missing: [lattice] shape (a list, each entry an integer >= 2); [source] beta (a number "
        "> 0); [sampler] configurations (an integer >= 1), or [source] files; [output] dir (text); [target] beta or "
        "anisotropy (a list, each entry a number). `gaugeflow init` writes a commented run file"
    )


@pytest.mark.parametrize("command", ["train", "derive"])
def test_everything_missing_is_named_by_the_command(gaugeflow, tmp_path, command):
    path = tmp_path / "run.toml"
    path.write_text("[output]\ndir = 'x'")
    message = gaugeflow(command, path, status=2)
    assert all(
        name in message for name in ("[lattice] shape", "[source] beta", "[sampler] conf", "[target] beta or an")
    )
    assert "[flow]" not in message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("convolutions = [0, 2]", ""),
        ("[0, 2]", "[0, 2]\ngradient_steps = 2"),
        ("flow_time = 0.5", ""),
        ('method = "adam"', 'method = "adam"\nbatch = 1'),
        ("beta = [2.1, 1.9]", ""),
    ],
)
def test_sampling_does_not_depend_on_what_it_does_not_use(gaugeflow, tmp_path, old, new):
    path = tmp_path / "run.toml"
    text = GOOD.replace("[8, 4, 4, 4]\nfold = [2, 1, 1, 1]", "[4, 4]").replace(
        "configurations = 10", "configurations = 2"
    )
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert gaugeflow("sample", path, "--json")["configurations"] == 2


def test_init(gaugeflow, tmp_path, monkeypatch):
    """The file is written once, replaced when that is asked for, and accepted by every command."""
    monkeypatch.chdir(tmp_path)
    assert "gaugeflow sample run.toml" in gaugeflow("init")
    path = tmp_path / "run.toml"
    run = read_runfile(path, *ALL)
    assert run.require(SamplerSection).configurations * run.sampler.chains >= run.training.configurations
    path.write_text("mine")
    assert "run.toml exists: give another name, or --force" in gaugeflow("init", path, status=2)
    assert path.read_text() == "mine"
    gaugeflow("init", "--force", path)
    assert path.read_text() == TEMPLATE
    assert "No such file" in gaugeflow("init", tmp_path / "absent" / "run.toml", status=2)


def test_sample_takes_the_file_of_init(gaugeflow, tmp_path):
    """As it is, but on a smaller lattice: a test has no minutes."""
    path = tmp_path / "own.toml"
    gaugeflow("init", path)
    path.write_text(path.read_text().replace("[8, 8, 8, 8]", "[2, 2, 2, 2]").replace("# burn_in = 200", "burn_in = 1"))
    assert gaugeflow("sample", path, "--json")["configurations"] == 25


def test_template_names_every_key_with_its_default():
    """Defaults in comments are those of the program; keys without one, or with other values, say so."""
    found, section = {}, None
    for line in TEMPLATE.splitlines():
        if match := re.match(r"(?:# )?\[(\w+)\]", line):
            section = match[1]
        elif match := re.match(r"(# )?(\w+ = [^#]+?) *(?:# (.*))?$", line):
            ((key, value),) = tomllib.loads(match[2]).items()
            found[section, key] = value, bool(match[1]), match[3] or ""
    defaults = {(name, f.name): f.default for cls, name in SECTIONS.items() for f in fields(cls)}
    assert found.keys() == defaults.keys()
    for key, (value, commented, comment) in found.items():
        default = defaults[key]
        if comment.startswith("none"):
            assert default in ((), "", 0, math.inf), key
        elif commented:
            assert default is not MISSING, key
            several = tuple(value) if isinstance(value, list) else (value,)
            assert (value if isinstance(default, (str, int, float)) else several) == default, key
