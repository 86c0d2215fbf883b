"""The scripts of the documentation run as its pages say, on lattices small enough for a test."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gaugeflow.cli import main
from gaugeflow.interop import LAYOUTS

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture
def script(monkeypatch, capsys, tmp_path):
    """Run a script with arguments in an empty folder; gives what it prints."""
    monkeypatch.chdir(tmp_path)

    def call(name, *arguments):
        path = DOCS / "scripts" / name
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        runpy.run_path(str(path), run_name="__main__")
        return capsys.readouterr().out

    return call


def numbers(line):
    """Numbers of a line, errors in parentheses dropped."""
    return [float(x) for x in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", line)]


def test_ensemble_and_flow_scales(script, tmp_path):
    """4^4 at beta = 5.6 (plaquette 0.5246 in large volumes, finite ones are above), and its flow to t = 0.4."""
    arguments = ("--extent", 4, "--beta", 5.6, "--configurations", 6, "--burn-in", 20, "--trajectories", 16)
    heat_bath, hmc = script("generate_ensemble.py", *arguments).splitlines()
    assert 0.50 < numbers(heat_bath)[0] < 0.56
    assert 0.50 < numbers(hmc)[0] < 0.56
    assert "48 configurations" in heat_bath
    again, _ = script("generate_ensemble.py", *arguments).splitlines()
    assert again == heat_bath  # nothing left to do
    longer, _ = script("generate_ensemble.py", *arguments, "--configurations", 8).splitlines()
    assert "64 configurations" in longer
    options = ("--flow-time", 0.4, "--step", 0.1, "--average", "--level", 0.05, "--out", "scales")
    result = CliRunner().invoke(main, list(map(str, ("measure", "ensemble/ensemble.h5", *options))))
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert 0.05 < numbers(rows["t_c(0.05)"].split("clover")[-1].split("plaquette")[-1])[0] < 0.4
    assert "64 configurations, 8 chains, 4x4x4x4, wilson flow" in result.stdout
    found = {path.name for path in tmp_path.rglob("*.png")}
    assert found == {"plaquette.png", "autocorrelation.png", "t2_e.png", "charge.png"}


def test_coverage(script):
    """Few sets of chains: eight short ones are covered by fluctuations around the mean of all, and better than by each."""
    rows = [
        line
        for line in script("error_coverage.py", "--repeat", 160).splitlines()
        if line.startswith(("| 8 x", "| 30 %"))
    ]
    every, each = numbers(rows[0])[:2]
    assert 0.55 < every < 0.85
    assert each < every - 0.05
    assert numbers(rows[2])[0] > 1.05


def test_trex_of_u1(script, tmp_path):
    """8^2 at beta = 2, 2.5, 3: <Q^2> is exact, and flows raise swap rates."""
    out = script("trex_u1.py", "--extent", 8, "--betas", 2.0, 2.5, 3.0, "--steps", 150, "--burn-in", 50)
    first, *rows = out.splitlines()
    assert numbers(first)[0] == pytest.approx(0.70784301, abs=1e-4)  # the second difference is good to this
    plain, flow = (numbers(row.split("swaps")[1])[0] for row in rows[1:])
    assert flow > 1.2 * plain
    assert (tmp_path / "trex-u1" / "history.png").stat().st_size > 1000


def test_trex_in_a_defect(script, tmp_path):
    """4^4 at beta = 6, weak links made whole: flows around the cube raise swap rates; <P> is 0.597 on this lattice."""
    options = ("--strengths", 0.7, 1.0, "--steps", 16, "--burn-in", 8, "--fit", 2)
    plain, flow, local = script("trex_defect.py", *options).splitlines()
    assert numbers(flow.split("swaps")[1])[0] > 1.2 * numbers(plain.split("swaps")[1])[0]
    for line in (plain, flow, local):
        assert numbers(line.split("<P>")[1])[0] == pytest.approx(0.597, abs=0.01)
    assert (tmp_path / "trex-defect" / "swaps.png").stat().st_size > 1000


def test_estimators_of_derivatives(script, tmp_path):
    """From a report: every estimate of the figure is printed, and marked where the weights leave fewer than ten."""
    effective = {"independent": None, "reweighting": 3.5, "flow": 40.0, "flow, central": 40.0, "linearised flow": None}
    derivatives = [
        {"observable": name, "estimator": kind, "step": 0.1, "value": 0.1, "error": 0.01, "n_effective": count}
        for name in ("plaquette", "t2_e")
        for kind, count in effective.items()
    ]
    sizes = {"ess_plain": 0.05, "ess_plain_error": 0.02, "ess_flow": 0.6, "ess_flow_error": 0.03}
    (tmp_path / "estimators").mkdir()
    report = tmp_path / "estimators" / "report.json"
    report.write_text(json.dumps([{"dbeta": 0.1, **sizes, "derivatives": derivatives}]))
    first, *rows, _ = script("derivative_estimators.py").splitlines()
    assert first == "step 0.1  ESS without flow 0.050(20)  with flow 0.600(30)"
    assert len(rows) == 8
    assert [row.split("  ")[2] for row in rows if row.endswith("0.100(10) !")] == 2 * ["reweighting"]
    assert (tmp_path / "estimators" / "estimators.png").stat().st_size > 1000


@pytest.mark.slow
def test_estimators_of_derivatives_from_the_start(script):
    """4^4, one step: the flow has the larger effective sample size."""
    options = ("--extent", 4, "--steps", 0.1, "--configurations", 5, "--training-chains", 8, "--flow-time", 0.1)
    first, *_ = script("derivative_estimators.py", *options).splitlines()
    plain, flow = numbers(first)[1:]
    assert plain < flow < 1.0


def test_costs_of_flows(script):
    """4^4: a smeared sweep costs more than one with staples alone."""
    rows = script("flow_costs.py", "--extent", 4, "--repeats", 1).splitlines()
    costs = {row.split(":")[0]: float(re.search(r": (\d+) forces", row)[1]) for row in rows[2:]}
    assert costs["residual, staples"] < costs["smeared, gradients 2 and 4"]


def test_costs_of_layouts(script):
    """A row for every layout, with three ratios."""
    rows = script("layout_costs.py", "--extent", 4, "--repeats", 1).splitlines()
    found = [re.fullmatch(r"\| `([a-z-]+)` \|( \d+\.\d\d \|){3}", row) for row in rows[2:-2]]
    assert [row[1] for row in found] == list(LAYOUTS)


def test_loops_by_slabs(script, tmp_path):
    """4^4: multihit lowers the variance, and a run that goes on from its file prints the same."""
    options = ("--shape", 4, 4, 4, 4, "--thin", 1, "--burn-in", 5, "--slabs", "2,2", "--out", tmp_path / "loops.npz")
    first = script("multilevel.py", *options, "--rows", 10)
    gains = {
        row.split("  ")[1].strip(): float(re.search(r"variance / ([\d.]+)", row)[1]) for row in first.splitlines()[1:]
    }
    assert gains["plain"] == 1.0
    assert gains["multihit"] > 1.0
    assert script("multilevel.py", *options, "--rows", 10) == first


@pytest.mark.slow
def test_slices_by_slabs(script):
    """4^4: averages over slabs leave less of the variance than one configuration, whose share is 1."""
    options = ("--extent", 4, "--rows", 10, "--thickness", 2, "--updates", 8, "--burn-in", 20)
    rows = script("slab_slices.py", *options).splitlines()
    single, _, slabs, _ = (float(re.search(r"share ([\d.e-]+)", row)[1]) for row in rows[:4])
    assert single == 1.0
    assert slabs < 0.8


def test_figure_of_gains(script, tmp_path):
    """Numbers, ranges and empty cells of the page become bars."""
    assert script("gains.py", DOCS / "gains.md", tmp_path / "gains.png").strip() == str(tmp_path / "gains.png")
    tables = runpy.run_path(str(DOCS / "scripts" / "gains.py"))["tables"]
    page = "## Over one\n\n| demonstration | observable | this library | published |\n|---|---|---|---|\n"
    (row,) = tables(page + "| [quark mass](quark_mass.md) | five | 1.3 to 2.3 | |\n")["Over one"]
    assert row == ("quark mass, five", (1.3, 2.3), None)


def test_networks(script):
    """One row, with the time of a step and a rate."""
    out = script("networks.py", "--channels", 1, 8, 2, "--extent", 4, "--batch", 64)
    assert re.fullmatch(r"\| 1-8-2 \| 4\^2 \| \d+\.\d \| \d+\.\d \| \d+ \|", out.splitlines()[-1])


def test_operator_contracts(script):
    """One row with the most to check; docs/derivations/fermions.md has them all."""
    names = [line.split()[0] for line in script("operator_contracts.py", "--rows", "smallest, mass").splitlines()]
    assert {"force", "even-odd", "schur", "solution"} <= set(names)


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_links_of_pages(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_validation(script):
    """2D SU(2), a tenth of the steps: exact values of the Bessel functions, four sigma."""
    rows = script("validate.py", "--only", "2D SU(2)", "--steps", 0.1).splitlines()[2:]
    assert [row.split("|")[6].strip() for row in rows] == ["0.3993723801", "0.4644790253", "0.5329707336"]
    assert all(abs(float(row.split("|")[8])) < 4.0 for row in rows)


def test_sweep_beside_pytorch(script):
    """The same map by PyTorch and automatic differentiation; the script ends with an error where they differ."""
    pytest.importorskip("torch", reason="PyTorch is not installed: nothing but this comparison uses it")
    out = script(
        "gpu_torch.py", "--lattice", "4x4x4x4", "--batch", 2, "--device", "cpu", "--sizes", 16, "--entries", 1024
    )
    assert "ratio" in out
    assert "4 matrices of 16" in out


def test_sources_of_model_c(script):
    """The page shows what the script finds in the shipped measurements."""
    page = (DOCS / "fermions.md").read_text()
    columns = {"4": 1, "8": 2}
    for extent, column in columns.items():
        data = DOCS.parent / "src" / "gaugeflow" / "systems" / "data" / f"model-c-{extent}.h5"
        found = script("model_c.py", data).splitlines()
        count, rows = found[0].split()[0], [line.split()[-1] for line in found[1:]]
        cells = [line.split("|") for line in page.splitlines() if line.startswith("| ")]
        shown = {cell[1].strip(): cell[column + 1].strip() for cell in cells if len(cell) == 5}
        assert shown["configurations"].startswith(f"{count} in 8 chains")
        names = ["plaquette", *(f"modulus of the Polyakov loop, {way}" for way in ("time", "space"))]
        derivative = r"$\mathrm{d}S/\mathrm{d}\kappa$ per site"
        assert [shown[name] for name in (*names, derivative, f"variance of {derivative}")] == rows


def test_loops_between_replicas(script):
    """On 4 x 4: what loops and sectors leave is less than the whole."""
    rows = script("neighbouring_replicas.py", "--extent", 4, "--samples", 800).splitlines()[2:]
    values = [[float(x) for x in row.split("|")[2:5]] for row in rows]
    assert len(values) == 3
    assert all(whole > loops >= both >= 0.0 for whole, loops, both in values)


def test_couplings_of_pseudofermions(script):
    """4 x 4, a short training: the divergence falls, and a series of more hops beats the couplings."""
    options = ("--extent", 4, "--pairs", 1, "--updates", 200, "--batch", 16, "--width", 2, "--configurations", 128)
    first, second, _, *rows = script("conditional_couplings.py", *options, "--by-direction").splitlines()
    assert numbers(second)[0] < numbers(first)[0]
    left = {row.split(" ESS")[0].strip(): float(row.split()[-1]) for row in rows}
    assert left["marginal"] == 0.0
    assert left["series of order 4"] < left["couplings"] < left["series of order 1"]


def test_exact_values_of_quarks(script):
    """Every row of the table within four standard deviations: 2 x 2, fixed seeds."""
    out = script("validate_quarks.py", "--chains", 128, "--trajectories", 5, "--burn-in", 7)
    rows = [line.split("|") for line in out.splitlines()[2:]]
    assert len(rows) == 20
    assert all(abs(float(row[-2])) < 4.0 for row in rows)
