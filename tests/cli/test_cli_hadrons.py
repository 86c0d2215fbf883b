"""``gaugeflow measure --hadrons``: numbers of the library, resumed runs, stored propagators, masses."""

import json

import numpy as np
import pytest

from cases import fields
from gaugeflow import hadrons, io
from gaugeflow.analysis import correlator, fit_mass, folded, format_error
from gaugeflow.backend import use_backend
from gaugeflow.cli import hadrons as command
from gaugeflow.cli.output import Failures
from gaugeflow.cli.places import find_places
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Clover, Wilson
from gaugeflow.random import Rng

SHAPE = (8, 4)
QUARK = ("--hadrons", "--kappa", 0.15, "--backend", "reference")


@pytest.fixture
def ensemble(tmp_path, monkeypatch):
    """Two chains of six configurations, U(1) near unit links in two dimensions; four are solved for together."""
    monkeypatch.setattr(command, "LARGEST_BATCH", 4)
    monkeypatch.chdir(tmp_path)
    noise = fields.group_array(SHAPE, 1, 12, seed=3)
    links = np.exp(0.25j * np.angle(noise))
    with io.EnsembleFile.create("e.h5", shape=SHAPE, n_colours=1) as file:
        file.append(links, id=np.repeat(np.arange(6), 2), chain=np.tile([0, 1], 6))
    return links


def test_numbers_of_the_library(gaugeflow, ensemble):
    """Smeared source and sink, two source times, momenta, twisted boundary, clover term, loops."""
    options = ("--csw", 1.1, "--boundary", "1,0.3", "--smear", 1.5, 2, "--smear-sink", "--sources", 2, "--momenta", 1)
    result = gaugeflow("measure", "e.h5", *QUARK, *options, "--loops", 2, "--dilution", "spin", "--json")
    columns, attributes = io.read_table("hadrons/hadrons.h5")
    assert attributes["axes"]["correlators"] == ["configuration", "channel", "momentum", "time"]
    assert attributes["labels"]["channel"] == ["pion", "pion_axial", "rho", "a0", "a1"]
    assert attributes["labels"]["momentum"] == [[0], [1], [-1]]
    assert columns["correlators"].shape == (12, 5, 3, 8)
    assert columns["loops"].shape == (12, 2, 2, 8)
    assert list(zip(columns["chain"], columns["id"], strict=True))[:3] == [(0, 0), (1, 0), (0, 1)]
    lattice, gaussian = Lattice(SHAPE), hadrons.Gaussian(1.5, 2)
    links = lattice.pack(ensemble[6:7], components=1)
    operator = Clover(lattice=lattice, links=links, kappa=0.15, csw=1.1, boundary=(-1.0, np.exp(0.3j * np.pi)))
    with use_backend("reference"):
        expected = 0.0
        for t in (0, 4):
            s = hadrons.propagator(operator, hadrons.point(operator, (t, 0), gaussian)).smeared(links, gaussian)
            momenta = hadrons.momenta_up_to(2, 1)
            expected = (
                expected + hadrons.two_point(s, channels=attributes["labels"]["channel"], momenta=momenta).values / 2
            )
        stream = Rng(1).stream("loops").stream(0).stream(3)
        traces = hadrons.loops(operator, [stream], 2, dilution=hadrons.Dilution(time=False))
    np.testing.assert_allclose(columns["correlators"][6], expected[..., 0], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(columns["loops"][6], traces.values[..., 0], rtol=1e-6, atol=1e-6)
    condensate = hadrons.chiral_condensate(operator, np.real(columns["loops"][:, 0]).sum(axis=-1)).mean()
    assert result["loops"]["condensate"]["value"] == pytest.approx(condensate, rel=1e-12)
    slope = hadrons.d_kappa(operator, np.real(columns["loops"][:, 0]).sum(axis=-1), flavours=1).mean()
    assert result["loops"]["d_kappa_per_flavour"]["value"] == pytest.approx(slope, rel=1e-12)
    assert result["loops"]["condensate"]["noise_of_one"] > 0


def test_masses_and_figure(gaugeflow, ensemble, tmp_path):
    """What the command fits is what the analysis fits from its file; momenta raise the energy."""
    result = gaugeflow("measure", "e.h5", *QUARK, "--momenta", 1, "--fit", 1, 4, "--out", "here", "--json")
    assert result == json.loads((tmp_path / "here" / "hadrons.json").read_text())
    assert (tmp_path / "here" / "effective_mass.png").stat().st_size > 5000
    rows = {(row["channel"], row["n_squared"]): row for row in result["hadrons"]}
    table = io.read_table("here/hadrons.h5")
    for n_squared in (0, 1):
        series = correlator(table, "pion", n_squared=n_squared)
        assert series.chains == 2
        pion = fit_mass(folded(series), 1, 4, period=8)
        found = rows["pion", n_squared]["fit"]
        assert found["mass"] == pytest.approx(pion.values[0], rel=1e-12)
        assert found["error"] == pytest.approx(pion.errors[0], rel=1e-12)
        assert [point["t"] for point in rows["pion", n_squared]["effective_mass"]] == [0, 1, 2, 3]
    assert rows["pion", 1]["fit"]["mass"] > rows["pion", 0]["fit"]["mass"] + 0.1
    text = gaugeflow("measure", "e.h5", *QUARK, "--momenta", 1, "--fit", 1, 4, "--out", "here", "--figures", "pdf")
    assert "wrote here/effective_mass.pdf" in text
    assert (tmp_path / "here" / "effective_mass.pdf").read_bytes().startswith(b"%PDF")
    assert format_error(rows["pion", 0]["fit"]["mass"], rows["pion", 0]["fit"]["error"]) in text
    assert "wrote here/hadrons.h5" in text


def test_interrupted_run_goes_on_to_the_same_numbers(gaugeflow, ensemble, monkeypatch):
    options = (*QUARK, "--source", "noise", "--loops", 1, "--dilution", "spin", "--tolerance", 1e-6)
    gaugeflow("measure", "e.h5", *options, "--out", "whole")
    measure, calls = command._measure, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setattr(command, "_measure", interrupted)
    assert "give the same command again" in gaugeflow("measure", "e.h5", *options, "--out", "parts", status=130)
    assert len(io.read_table("parts/hadrons.h5")[0]["id"]) == 4
    gaugeflow("measure", "e.h5", *options, "--out", "parts")
    assert len(calls) == 4
    whole, parts = (io.read_table(f"{name}/hadrons.h5")[0] for name in ("whole", "parts"))
    assert set(whole) == {"chain", "id", "checksum", "correlators", "loops"}
    for name, column in whole.items():
        np.testing.assert_array_equal(parts[name], column, err_msg=name)
    gaugeflow("measure", "e.h5", *options, "--out", "parts")
    assert len(calls) == 4  # nothing was left to do
    text = gaugeflow("measure", "e.h5", *options, "--csw", 1.0, "--out", "parts", status=2)
    assert "was measured with other csw" in text
    with io.EnsembleFile.create("f.h5", shape=SHAPE, n_colours=1) as file:
        file.append(ensemble[::-1], id=np.repeat(np.arange(6), 2), chain=np.tile([0, 1], 6))
    assert "holds other configurations: f.h5" in gaugeflow("measure", "f.h5", *options, "--out", "parts", status=2)


def test_propagators_are_kept_and_used(gaugeflow, ensemble, monkeypatch, tmp_path):
    first = (*QUARK, "--channels", "pion", "--propagators", "quarks")
    gaugeflow("measure", "e.h5", *first, "--out", "one")
    assert len(list((tmp_path / "quarks").glob("*.h5"))) == 12
    stored = io.read_propagator("quarks/propagator-1-000002-t0.h5")
    assert stored.array.shape == (*SHAPE, 2, 1, 2, 1)
    assert stored.boundary == (-1.0, 1.0)
    assert stored.attributes["axes"] == ["site 0", "site 1", "spin", "colour", "source spin", "source colour"]
    assert stored.attributes["gaugeflow_version"]
    lattice = Lattice(SHAPE, (2, 1))
    s = hadrons.Propagator.from_array(lattice, stored.array[None], *stored[1:4])
    operator = Wilson(lattice=lattice, links=lattice.pack(ensemble[5:6], components=1), kappa=0.15)
    np.testing.assert_allclose(operator.apply(s.field), hadrons.point(operator, (0, 0)).field, atol=1e-9)

    def solved(*arguments, **options):
        raise AssertionError("solved again")

    monkeypatch.setattr(hadrons, "propagator", solved)
    gaugeflow("measure", "e.h5", *QUARK, "--channels", "g5,rho", "--propagators", "quarks", "--out", "two")
    one, two = (io.read_table(f"{name}/hadrons.h5")[0]["correlators"] for name in ("one", "two"))
    np.testing.assert_allclose(two[:, :1], one, rtol=1e-13)
    other = ("--hadrons", "--kappa", 0.16, "--backend", "reference", "--propagators", "quarks", "--out", "three")
    assert "is of another quark" in gaugeflow("measure", "e.h5", *other, status=2)


def test_files_of_one_configuration(gaugeflow, tmp_path, monkeypatch):
    """SU(3) in four dimensions: mesons and the nucleon, too few for errors, in any mixture of files."""
    monkeypatch.chdir(tmp_path)
    shape = (4, 2, 2, 2)
    links = fields.group_array(shape, 3, 3, seed=4)
    for k in range(2):
        io.write(f"{k}.h5", io.Config(links[k]))
    with io.EnsembleFile.create("e.h5", shape=shape, n_colours=3) as file:
        file.append(links[2:], id=[9], chain=[0])
    options = ("--hadrons", "--kappa", 0.05, "--tolerance", 1e-6, "--backend", "reference")
    result = gaugeflow("measure", "0.h5", "e.h5", "1.h5", *options, "--json")
    columns, attributes = io.read_table("hadrons/hadrons.h5")
    assert columns["chain"].tolist() == [0, 1, 0]
    assert columns["id"].tolist() == [0, 9, 1]
    names = ["pion", "pion_axial", "rho", "a0", "a1", "b1", "nucleon", "nucleon_minus"]
    assert attributes["labels"]["channel"] == names
    nucleon = result["hadrons"][-1]
    assert nucleon["channel"] == "nucleon"
    assert nucleon["fit"]["mass"] is None
    assert nucleon["fit"]["reason"] == "fewer than 5 configurations in a chain"
    values = columns["correlators"].mean(axis=0).real
    assert nucleon["correlator"][1] == pytest.approx((values[6, 0, 1] - values[7, 0, 3]) / 2, rel=1e-12)


def test_numbers_and_chains_of_files(ensemble, tmp_path):
    names = [f"r{r}-c{i}.h5" for i in (10, 20, 40, 50, 60) for r in (1, 2)]
    for links, name in zip(ensemble, names, strict=False):
        io.write(name, io.Config(links))
    places = find_places([*names, "e.h5"], Failures(stop=True))
    assert [(p.chain, p.id) for p in places[:4]] == [(0, 10), (1, 10), (0, 20), (1, 20)]
    assert [(p.chain, p.id) for p in places[9:12]] == [(1, 60), (2, 0), (3, 0)]


def test_bad_files_are_left_out_and_measured_when_they_are_whole(gaugeflow, ensemble, tmp_path):
    """One that is not there, one that is damaged; given again, they come to their places in the table."""
    names = [f"{k}.h5" for k in range(6)]
    for name, links in zip(names, ensemble, strict=False):
        io.write(name, io.Config(links))
    whole = (tmp_path / "5.h5").read_bytes()
    (tmp_path / "5.h5").write_bytes(whole[:-200])
    (tmp_path / "0.h5").rename("later")
    options = (*QUARK, "--tolerance", 1e-8, "--channels", "pion")
    lines = gaugeflow("measure", *names, *options, "--out", "some", status=2).splitlines()
    assert lines[0] == "gaugeflow: 2 failures in 6 files:"
    assert lines[1] == "gaugeflow: 0.h5: No such file or directory"
    assert lines[2].startswith("gaugeflow: 5.h5: ")
    columns, _ = io.read_table("some/hadrons.h5")
    assert columns["id"].tolist() == [1, 2, 3, 4]
    assert set(columns["chain"].tolist()) == {0}
    assert "5.h5" in gaugeflow("measure", *names[1:], *options, "--out", "none", "--stop", status=2)
    (tmp_path / "5.h5").write_bytes(whole)
    (tmp_path / "later").rename("0.h5")
    gaugeflow("measure", *names, *options, "--out", "some")
    gaugeflow("measure", *names, *options, "--out", "all")
    some, all_ = (io.read_table(f"{folder}/hadrons.h5")[0] for folder in ("some", "all"))
    assert some["id"].tolist() == list(range(6))
    for name, column in all_.items():
        np.testing.assert_allclose(some[name], column, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--hadrons",), "--hadrons needs --kappa"),
        (("--kappa", 0.1), "--kappa needs --hadrons"),
        (("--figures", "pdf"), "--figures needs --hadrons"),
        ((*QUARK, "--flow-time", 1), "--flow-time does not go with --hadrons"),
        ((*QUARK, "--source", "wall", "--momenta", 1), "--momenta needs a point source"),
        ((*QUARK, "--smear-sink"), "--smear-sink needs --smear"),
        ((*QUARK, "--channels", "omega"), "meson: expected one of"),
        ((*QUARK, "--channels", "nucleon"), "--channels: nucleon needs four dimensions, three colours"),
        ((*QUARK, "--boundary", "1"), "--boundary: expected antiperiodic, periodic or 2 angles over pi, got '1'"),
        ((*QUARK, "--sources", 9), "--sources: expected at most 8"),
        ((*QUARK, "--dilution", "flavour"), "--dilution: expected some of time, spin, colour, parity or none"),
        ((*QUARK, "--tolerance", 0), "--tolerance: expected a relative residual in 0 ... 1, got 0"),
        ((*QUARK, "--tolerance", "nan"), "--tolerance: expected a relative residual in 0 ... 1, got nan"),
        ((*QUARK, "./e.h5"), "./e.h5 is given more than once, as e.h5, too"),
        ((*QUARK, "--smear", 0, 3), "Gaussian: expected a positive width"),
        ((*QUARK, "--fit", 2, 7), "--fit: expected 0 <= FIRST < LAST <= 4"),
    ],
)
def test_one_line_errors(gaugeflow, ensemble, tmp_path, options, message):
    text = gaugeflow("measure", "e.h5", *options, status=2)
    assert message in text
    assert "Traceback" not in text
    assert not (tmp_path / "hadrons").exists()
