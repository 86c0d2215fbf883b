"""``gaugeflow sample`` with quarks: two flavours and one more, continued bit for bit; what run files may not say."""

import numpy as np
import pytest

from gaugeflow.io import EnsembleFile, read_table
from gaugeflow.samplers import HMC

RUN = """
[lattice]
shape = [8, 4]
fold = [4, 2]
[group]
n = 1
[source]
beta = 2.0
[sampler]
chains = 1
burn_in = 2
configurations = {configurations}
separation = 2
start = "quenched"
seed = 5
[fermions]
flavours = [2, 1]
kappa = [0.22, 0.2]
hasenbusch = [0.18]
spectrum = [1e-3, 8.0]
error = 1e-5
solver = "cg"
[hmc]
steps = 2
[output]
dir = "{dir}"
"""


@pytest.fixture
def runfile(tmp_path):
    def write(configurations=2, dir="out", change=("", "")):
        path = tmp_path / "run.toml"
        text = RUN.format(configurations=configurations, dir=dir)
        assert change[0] in text
        path.write_text(text.replace(*change))
        return path

    return write


def _links(folder):
    with EnsembleFile.open(folder / "ensemble.h5") as file:
        return file.read(0, len(file)).links


def test_interrupted_run_continues_bit_for_bit(gaugeflow, runfile, tmp_path, monkeypatch):
    result = gaugeflow("sample", runfile(3, dir="whole"), "--json")
    assert result["exp_minus_delta_h"]["mean"] == pytest.approx(1.0, abs=0.5)
    assert 0.5 < result["acceptance"] <= 1.0
    columns, _ = read_table(tmp_path / "whole/history.h5")
    assert columns["delta_h"].shape == columns["plaquette"].shape == (3, 1)
    step = HMC.step

    def interrupted(self, rng, state):
        if state.step == 5:
            raise KeyboardInterrupt
        return step(self, rng, state)

    monkeypatch.setattr(HMC, "step", interrupted)
    text = gaugeflow("sample", runfile(3, dir="pieces"), status=130)
    assert "interrupted: 1 of 3 configurations a chain are stored" in text
    monkeypatch.setattr(HMC, "step", step)
    gaugeflow("sample", runfile(3, dir="pieces"), "--json")
    np.testing.assert_array_equal(_links(tmp_path / "pieces"), _links(tmp_path / "whole"))
    gaugeflow("sample", runfile(3, dir="pieces", change=("0.22", "0.21")), status=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("kappa = [0.22, 0.2]", "kappa = 0.22"),
            "kappa: expected 2 values, one for each entry of flavours, found [0.22]",
        ),
        (("kappa = [0.22, 0.2]", ""), "expected either kappa or mass"),
        (("spectrum = [1e-3, 8.0]", ""), "spectrum: expected with an odd number of quarks"),
        (("spectrum = [1e-3, 8.0]", "spectrum = [8.0, 1.0]"), "expected [low, high] with low < high"),
        (("hasenbusch = [0.18]", "hasenbusch = [0.18]\ntwisted = [0.1]"), "expected either hasenbusch or twisted"),
        (("shape = [8, 4]\nfold = [4, 2]", "shape = [4, 4, 4]"), "need an even number of dimensions, found 3"),
        (
            ("steps = 2", "steps = 2\ninner = [1]"),
            "inner: expected 2 numbers, one for each time scale below the slowest",
        ),
        (("solver = ", "boundary = [1]\nsolver = "), "boundary: expected 2 angles"),
    ],
)
def test_run_files_that_make_no_sense(gaugeflow, runfile, change, message):
    assert message in gaugeflow("sample", runfile(change=change), status=2)


def test_commands_without_quarks_say_so(gaugeflow, runfile):
    more = "[flow]\n[target]\nbeta = [2.1]\n[training]\n[output]"
    text = gaugeflow("train", runfile(change=("[output]", more)), status=2)
    assert "this command knows sources without quarks only" in text
