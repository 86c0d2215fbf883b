"""``gaugeflow measure`` over ensembles: averages and scales with errors, charges, slices, and runs that go on."""

import json
import os
import socket

import h5py
import numpy as np
import pytest

from cases.fields import group_array
from gaugeflow import io, observables
from gaugeflow.analysis import Series, derive, gamma_method, topological_susceptibility
from gaugeflow.backend import use_backend
from gaugeflow.cli import measure_table
from gaugeflow.errors import GaugeflowError
from gaugeflow.filesystem import FileLock
from gaugeflow.lattice import Lattice

SHAPE = (2, 2, 2, 2)
IDS = ((10, 12, 14, 18, 20, 22), (3, 5, 7, 9, 11))
"""Two chains of unequal length, one with a gap."""
OPTIONS = ("--flow-time", 0.3, "--step", 0.1, "--flow", "zeuthen", "--backend", "reference")


@pytest.fixture(autouse=True)
def _reference():
    """No kernel is compiled for these shapes."""
    with use_backend("reference"):
        yield


def smooth(shape, n, count, strength=1.0, seed=0):
    """Links near unity, ``(count, d, *shape, n, n)``."""
    u = group_array(shape, n, count, seed)
    if n == 1:
        return np.exp(1j * strength * np.angle(u))
    values, vectors = np.linalg.eigh((u - np.swapaxes(u.conj(), -1, -2)) / 2j)
    x = (vectors * np.exp(1j * strength * values)[..., None, :]) @ np.swapaxes(vectors.conj(), -1, -2)
    return x / (np.linalg.det(x) ** (1 / n))[..., None, None]


@pytest.fixture
def ensemble(tmp_path, monkeypatch):
    """SU(2), eleven configurations in an order that is not that of Markov time."""
    monkeypatch.chdir(tmp_path)
    links = smooth(SHAPE, 2, 11)
    chain = np.repeat([0, 1], [6, 5])
    id = np.concatenate(IDS)
    order = np.argsort(id, kind="stable")
    with io.EnsembleFile.create("e.h5", shape=SHAPE, n_colours=2) as file:
        file.append(links[order], id=id[order], chain=chain[order])
    return links


def test_averages(gaugeflow, ensemble, tmp_path):
    """What the library's Gamma method says of the library's numbers, chains with gaps included."""
    found = gaugeflow("measure", "e.h5", *OPTIONS, "--average", "--level", 0.01, "--level", 0.3, "--json")
    assert [(r["chain"], r["id"]) for r in found["configurations"]][:3] == [(1, 3), (1, 5), (1, 7)]
    assert (found["n_configurations"], found["chains"], found["flow"]) == (11, 2, "zeuthen")
    lattice = Lattice(SHAPE)
    times = [0.0, 0.1, 0.2, 0.3]
    x = lattice.pack(ensemble, components=1)
    history = observables.flow_history(lattice, x, times, step=0.1, flow="zeuthen")
    rows = {(r["quantity"], r["definition"], r["level"]): r for r in found["averages"]}

    def series(values):
        return Series.from_chains([values[:6], values[6:]], IDS)

    def check(key, expected):
        estimate = gamma_method(expected)
        row = rows[key]
        assert row["value"] == pytest.approx(estimate.value, rel=1e-9, abs=1e-12)
        assert row["error"] == pytest.approx(estimate.error, rel=1e-8)
        assert row["tau_int"] == pytest.approx(estimate.tau_int, rel=1e-8)

    check(("plaquette", None, None), series(observables.plaquette(lattice, x)))
    charge = series(history.q[-1])
    check(("q", "clover", None), charge)
    check(("chi_q", "clover", None), topological_susceptibility(charge, 16))
    for name, energy in (("clover", history.t2_e), ("plaquette", history.t2_e_plaquette)):
        for key, function in (("t_c", observables.flow_time_where), ("w_c", observables.w_0)):
            if (key, name) == ("w_c", "plaquette"):
                assert "t d/dt (t^2 <E>) does not cross 0.01" in rows[key, name, 0.01]["reason"]
                continue
            expected = derive(lambda y, f=function: f(y, times, 0.01), series(energy.T))
            row, estimate = rows[key, name, 0.01], gamma_method(expected)
            assert row["value"] == pytest.approx(estimate.value, rel=1e-12)
            assert row["error"] == pytest.approx(estimate.error, rel=1e-3)  # differences there, derivatives here
            assert row["t"] is None
        short = rows["t_c", name, 0.3]
        assert short["value"] is None
        largest = energy.mean(axis=1).max()
        assert short["reason"] == f"t^2 <E> does not cross 0.3: it covers 0 ... {largest:.6g} up to t = 0.3"
    text = gaugeflow("measure", "e.h5", *OPTIONS, "--average", "--level", 0.01, "--level", 0.3)
    assert "11 configurations, 2 chains, 2x2x2x2, zeuthen flow" in text
    assert "t_c(0.01)" in text
    assert "t_0 (clover): t^2 <E> does not cross 0.3" in text
    assert not list(tmp_path.glob("*.json"))


def test_files_have_the_numbers_in_their_names(gaugeflow, ensemble):
    """As an ensemble file with these chains and numbers; too few in a chain have no error, and it is said."""
    for k in range(6):
        io.write(f"c.{IDS[0][k]:04d}", io.Config(ensemble[k]), format="hdf5")
    files = sorted(f"c.{i:04d}" for i in IDS[0])
    found = gaugeflow("measure", *files, *OPTIONS[-2:], "--average", "--json")
    assert [r["id"] for r in found["configurations"]] == list(IDS[0])
    plaquettes = [r["plaquette"] for r in found["configurations"]]
    error = gamma_method(Series.from_chains([np.array(plaquettes)], [IDS[0]])).error
    assert found["averages"][0]["error"] == pytest.approx(error, rel=1e-12)
    few = gaugeflow("measure", *files[:3], *OPTIONS[-2:], "--average", "--json")
    assert few["averages"][0]["error"] is None
    assert few["averages"][0]["reason"] == "no error: fewer than 5 configurations in a chain"
    assert "fewer than 5" in gaugeflow("measure", *files[:3], *OPTIONS[-2:], "--average")
    text = gaugeflow("measure", files[0], files[0], *OPTIONS[-2:], "--average", status=2)
    assert text == "gaugeflow: c.0010 is given more than once\n"
    missing = [*files[:2], "c.0016", *files[2:]]  # a gap, as if it had not been given
    text = gaugeflow("measure", *missing, *OPTIONS[-2:], "--average", "--json", status=2)
    assert text == "gaugeflow: 1 failure in 7 files:\ngaugeflow: c.0016: No such file or directory\n"
    assert json.loads(gaugeflow.stdout) == found


def test_table_and_what_goes_on_from_it(gaugeflow, ensemble, tmp_path, monkeypatch):
    """All numbers are in the file; a run that failed at a configuration goes on, to the same result; others are refused."""
    options = (*OPTIONS, "--charge", "plaquette", "--charge", "five-loop", "--slices", "--average")
    expected = gaugeflow("measure", "e.h5", *options, "--json")
    plain, count = observables.measure, []

    def fails(*arguments, **kind):
        count.append(1)
        if len(count) == 5:
            raise KeyboardInterrupt
        return plain(*arguments, **kind)

    monkeypatch.setattr(observables, "measure", fails)
    text = gaugeflow("measure", "e.h5", *options, "--out", "here", status=130)
    assert "give the same command again to go on from what is in here" in text
    assert len(io.read_table("here/observables.h5")[0]["id"]) == 4
    found = gaugeflow("measure", "e.h5", *options, "--out", "here", "--json", "--figures", "pdf")
    assert len(count) == 5 + 7
    assert found == expected
    assert json.loads((tmp_path / "here" / "averages.json").read_text()) == {
        key: value for key, value in expected.items() if key != "configurations"
    }
    assert {p.name for p in (tmp_path / "here").iterdir()} == {
        "observables.h5",
        "averages.json",
        "t2_e.png",
        "t2_e.pdf",
        "charge.png",
        "charge.pdf",
    }
    columns, attributes = io.read_table("here/observables.h5")
    assert attributes["axes"]["flow_slices_q"] == ["configuration", "flow time", "slice"]
    assert columns["flow_slices_q"].shape == (11, 4, 2)
    np.testing.assert_allclose(columns["flow_slices_q"].sum(axis=-1), columns["flow_q"], atol=1e-13)
    entry = expected["configurations"][2]["flow"][3]
    assert list(entry) == ["t", *measure_table._FLOW[:5], "q_plaquette", "q_five_loop", "t2_e_five_loop", "slices"]
    for name in ("q_plaquette", "q_five_loop", "t2_e_five_loop"):
        assert columns[f"flow_{name}"][2, 3] == entry[name]
    assert columns["flow_slices_e_clover_spatial"][2, 3].tolist() == entry["slices"]["e_clover_spatial"]
    definitions = {r["definition"] for r in found["averages"] if r["quantity"] == "chi_q"}
    assert definitions == {"clover", "plaquette", "five-loop"}
    other = gaugeflow("measure", "e.h5", *OPTIONS, "--average", "--out", "here", status=2)
    assert "was measured with other charges, slices: remove it, or choose another --out" in other
    io.write("x.h5", io.Config(ensemble[0]))
    other = gaugeflow("measure", "x.h5", *options, "--out", "here", status=2)
    assert "holds another configuration of chain 1, number 3 than the files given" in other


def test_a_damaged_configuration_of_an_ensemble_is_left_out(gaugeflow, ensemble):
    """The others are measured, those after it, too; made whole, it comes to its place."""
    command = ("measure", "e.h5", *OPTIONS[-2:], "--average", "--json")
    expected = gaugeflow(*command)
    with h5py.File("e.h5", "r+") as file:
        whole = file["links"][4]
        file["links"][4] = file["links"][5]
    for options in ((), ("--out", "here")):
        text = gaugeflow(*command, *options, status=2)
        assert text.startswith("gaugeflow: e.h5: configuration 4 crc32: expected ")
        assert text.count("\n") == 1
        found = json.loads(gaugeflow.stdout)
        assert found["configurations"] == expected["configurations"][:4] + expected["configurations"][5:]
        assert found["n_configurations"] == 10
    assert gaugeflow(*command, "--stop", status=2) == text
    assert len(json.loads(gaugeflow.stdout)["configurations"]) == 4
    with h5py.File("e.h5", "r+") as file:
        file["links"][4] = whole
    assert gaugeflow(*command, "--out", "here") == expected


def test_one_command_at_a_time_in_a_folder(gaugeflow, ensemble, tmp_path, monkeypatch):
    """Locked before the first measurement and until the averages are written; the lock is gone afterwards, and after errors."""
    plain, seen = observables.measure, []

    def asks_for_the_lock(*arguments, **kind):
        with pytest.raises(GaugeflowError, match="is held by process"), FileLock("here/measure.lock"):
            seen.append("taken away")
        seen.append("held")
        return plain(*arguments, **kind)

    (tmp_path / "here").mkdir()
    command = ("measure", "e.h5", *OPTIONS[-2:], "--out", "here")
    for arguments in (command, (*command, "--hadrons", "--kappa", 0.1, "--source", "wall")):
        with FileLock("here/measure.lock"):
            text = gaugeflow(*arguments, status=2)
        assert text == f"gaugeflow: here is in use by another run: process {os.getpid()} on {socket.gethostname()}\n"
        assert not list((tmp_path / "here").iterdir())
    monkeypatch.setattr(observables, "measure", asks_for_the_lock)
    gaugeflow(*command)
    assert seen == ["held"] * 11
    assert [file.name for file in (tmp_path / "here").iterdir()] == ["observables.h5"]
    gaugeflow(*command, "--step", 0.01, status=2)  # refused while it is locked
    gaugeflow(*command)


def test_integer_charge_of_two_dimensions(gaugeflow, tmp_path, monkeypatch):
    """U(1): in the table, in JSON without a flow and along it; SU(2) has none."""
    monkeypatch.chdir(tmp_path)
    links = group_array((4, 4), 1, 6, seed=2)
    expected = observables.integer_charge(Lattice((4, 4)), Lattice((4, 4)).pack(links, components=1))
    assert len(set(expected)) > 2
    with io.EnsembleFile.create("u1.h5", shape=(4, 4), n_colours=1) as file:
        file.append(links, id=np.arange(6), chain=np.zeros(6, dtype=int))
    results = gaugeflow("measure", "u1.h5", "--backend", "reference", "--json")
    assert [r["q"] for r in results] == expected.tolist()
    text = gaugeflow("measure", "u1.h5", "--backend", "reference")
    assert "Q the charge" in text
    assert text.splitlines()[5].split()[-1] == f"{expected[0]:g}"
    flowed = gaugeflow("measure", "u1.h5", "--flow-time", 0.02, "--slices", "--backend", "reference", "--json")
    assert [r["flow"][0]["q"] for r in flowed] == expected.tolist()
    assert sum(flowed[0]["flow"][0]["slices"]["q"]) == pytest.approx(expected[0], abs=1e-12)
    averages = gaugeflow("measure", "u1.h5", "--average", "--backend", "reference", "--json")["averages"]
    assert [(r["quantity"], r["definition"], r["t"]) for r in averages] == [
        ("plaquette", None, None),
        ("q", "integer", None),
        ("chi_q", "integer", None),
    ]
    assert averages[2]["value"] == pytest.approx((expected**2).mean() / 16, rel=1e-12)
    io.write("su2.h5", io.Config(group_array((4, 4), 2, 1)[0]))
    (result,) = gaugeflow("measure", "su2.h5", "--flow-time", 0.02, "--backend", "reference", "--json")
    assert result["q"] is None
    assert result["flow"][1]["q"] is None
    text = gaugeflow(
        "measure", "su2.h5", "--flow-time", 0.02, "--charge", "plaquette", "--backend", "reference", status=2
    )
    assert "charges: plaquette needs four dimensions" in text


@pytest.mark.parametrize("shape", [(4, 2, 2, 2), (4, 4)])
def test_rows_give_results_back(shape):
    """Periodic and open lattices, with and without flow and slices."""
    links = smooth(shape, 2, 1)[0]
    open_links = links.copy()
    open_links[0, -1] = 0.0
    for array, kind in (
        (links, {}),
        (links, {"flow_times": [0.0, 0.02], "slices": True}),
        (open_links, {"flow_times": [0.0, 0.02]}),
    ):
        if array is open_links and len(shape) == 2:
            continue  # no spatial planes
        result = observables.measure("x", array, **kind)
        parameters = {name: result.get(name) for name in ("shape", "n_colours", "boundary")}
        parameters["flow_times"] = kind.get("flow_times", [])
        again = measure_table.result_of(measure_table.row_of(result), parameters, "x")
        assert again == result
        assert json.dumps(again) == json.dumps(result)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--charge", "plaquette"), "--charge needs --flow-time"),
        (("--slices",), "--slices needs --flow-time"),
        (("--level", 0.1), "--level needs --average"),
        (("--average", "--level", 0.3, "--level", "nan"), "--level: expected positive numbers, got 0.3, nan"),
        (("--average", "--level", 0), "--level: expected positive numbers, got 0"),
        (("./absent.nersc", "--average"), "./absent.nersc is given more than once, as absent.nersc, too"),
        (("--figures", "pdf"), "--figures needs --hadrons, or --average and --out"),
        (("--hadrons", "--average"), "--average does not go with --hadrons"),
        (("--hadrons", "--charge", "plaquette"), "--charge does not go with --hadrons"),
        (("--kappa", 0.1), "--kappa needs --hadrons"),
    ],
)
def test_options_that_do_not_go_together(gaugeflow, options, message):
    assert gaugeflow("measure", "absent.nersc", *options, status=2) == f"gaugeflow: {message}\n"


def test_lattices_are_not_mixed(gaugeflow, ensemble):
    io.write("c.1.h5", io.Config(ensemble[0]))
    io.write("c.2.h5", io.Config(smooth((4, 2, 2, 2), 2, 1)[0]))
    text = gaugeflow("measure", "c.1.h5", "c.2.h5", "--average", "--backend", "reference", status=2)
    assert "expected shape [2, 2, 2, 2] like the first configuration, got [4, 2, 2, 2]" in text


def test_help_states_the_signs(gaugeflow):
    text = " ".join(gaugeflow("measure", "--help").split())
    for phrase in ("eps_xyzt = +1", "F_xy = F_zt", "openQCD's is opposite", "turn from t to x"):
        assert phrase in text
