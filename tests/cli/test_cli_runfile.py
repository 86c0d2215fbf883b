"""Run files: what is accepted, and how everything else is refused."""

import pytest

from gaugeflow.cli.assembly import make_sweep
from gaugeflow.flows import Smearing
from gaugeflow.lattice import Lattice
from gaugeflow.runfile import FlowSection, RunFile, SamplerSection, read_runfile

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


def _read(tmp_path, text):
    path = tmp_path / "run.toml"
    path.write_text(text)
    return read_runfile(path)


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
        ("beta = 2\n", "", "[source] beta: missing; expected a number > 0"),
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
        ('[output]\ndir = "results"\nprecision = 32', "", "section [output] is missing"),
        ("[group]\nn = 2", "[[group]]\nn = 2", "group: expected a section [group], found [{'n': 2}]"),
        ('kind = "residual"', "", "[flow] convolutions: expected with kind = 'residual', and only there"),
        ("convolutions = [0, 2]", "", "[flow] convolutions: expected with kind = 'residual', and only there"),
        ("[0, 2]", "[0, 2]\ngradient_steps = 2", "[flow] gradient_steps: expected with kind = 'smeared' only"),
        (
            'kind = "residual"\nconvolutions = [0, 2]',
            "gradient_steps = [4, 2]",
            "[flow] gradient_steps: expected increasing numbers, found [4, 2]",
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
    with pytest.raises(ValueError, match=r"needs the section \[sampler\]"):
        _read(tmp_path, text).require(SamplerSection)
