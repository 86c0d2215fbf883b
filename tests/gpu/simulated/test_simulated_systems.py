"""Actions, flows, samplers and the command on device arrays in the simulator: contracts hold, nothing crosses unseen."""

import json
from contextlib import nullcontext

import cupy
import numpy as np
import pytest
from click.testing import CliRunner

from cases.actions import ACTIONS
from cases.flows import GAUGE_FLOWS
from gaugeflow import check, devices, io, random, tree
from gaugeflow.actions import WilsonAction
from gaugeflow.backend import use_backend
from gaugeflow.cli import main
from gaugeflow.ensembles import MemoryEnsemble
from gaugeflow.flows import ResidualSweep
from gaugeflow.lattice import Lattice
from gaugeflow.samplers import HMC, HeatBath, Level
from gaugeflow.training import Adam, constant, log_variance, train

SMALL = Lattice((2, 2))


def _flow(name):
    """A row of the table with two configurations instead of the eight that fill a register of the CPU."""
    flow, lattice, params, x = GAUGE_FLOWS[name]()
    x = cupy.asarray(lattice.pack(lattice.unpack(x, components=1)[:2], components=1))
    return flow, lattice, tree.map(cupy.asarray, params), x


QUICK_FLOWS = {"residual SU(2)", "loops, half of the links", "spectral SU(2)"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if "u1" in n or n.startswith("phi") else [pytest.mark.slow]) for n in ACTIONS]
)
def test_action(name, rng):
    action, lattice, x = ACTIONS[name]()
    check.check_action(action, lattice, cupy.asarray(x), rng)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK_FLOWS else [pytest.mark.slow]) for n in GAUGE_FLOWS]
)
def test_flow(name, rng):
    flow, lattice, params, x = _flow(name)
    check.check_flow(flow, lattice, params, x, rng)


def test_gauge_covariance(rng):
    action, lattice, x = ACTIONS["wilson u1 2d smallest"]()
    check.check_gauge_covariance(action, lattice, cupy.asarray(x), rng)
    flow, lattice, params, x = _flow("residual SU(2)")
    check.check_gauge_covariance(flow, lattice, x, rng, params=params)


def test_fields_are_made_where_the_chosen_back_end_computes(crossings):
    with use_backend("cupy"):
        links = random.haar_links(random.Rng(1), SMALL, 2)
        assert devices.namespace() is cupy
    assert type(links) is cupy.ndarray
    assert crossings["to_host"] == 0
    np.testing.assert_array_equal(links.get(), random.haar_links(random.Rng(1), SMALL, 2))
    assert type(random.haar_links(random.Rng(1), SMALL, 2)) is np.ndarray


def test_crossings_are_explicit(crossings):
    tree = {"a": np.ones(2), "b": {"c": np.zeros(3)}}
    assert devices.to_device(tree)["b"]["c"] is tree["b"]["c"]
    with use_backend("cupy"):
        there = devices.to_device(tree)
        assert crossings == {"to_device": 2}
        assert devices.to_device(there)["a"] is there["a"]
        back = devices.to_host(there)
    assert crossings == {"to_device": 2, "to_host": 2}
    assert type(back["b"]["c"]) is np.ndarray
    assert devices.to_host(np.ones(2)).shape == (2,)
    assert type(devices.follow(there["a"], tree["a"])) is np.ndarray
    assert devices.follow(there["a"], there["a"]) is there["a"]


def test_chain_equals_that_of_the_host(crossings):
    """Heat bath with overrelaxation: the same configurations, and one question to the device a step."""
    sampler = HeatBath(SMALL, 2.0, n_overrelax=1, reunitarise_every=2)
    start = random.haar_links(random.Rng(3), SMALL, 2, 2)
    host = sampler.init(start)
    there = sampler.init(cupy.asarray(start))
    there, _ = sampler.step(random.Rng(4), there)
    crossings.clear()
    for _ in range(2):
        there, info = sampler.step(random.Rng(4), there)
    assert crossings["to_host"] == 2
    assert type(info.plaquette) is cupy.ndarray
    with use_backend("reference"):
        for _ in range(3):
            host, _ = sampler.step(random.Rng(4), host)
    np.testing.assert_allclose(there.x.get(), host.x, atol=1e-12)


def test_hmc_lives_on_the_device():
    sampler = HMC(SMALL, Level(WilsonAction(SMALL, 1.0), 2), length=0.5)
    start = random.haar_links(random.Rng(3), SMALL, 2, 2)
    found = []
    for host, x in ((use_backend("reference"), start), (nullcontext(), cupy.asarray(start))):
        with host:
            found.append(sampler.step(random.Rng(5), sampler.init(x)))
    np.testing.assert_allclose(found[1][0].x.get(), found[0][0].x, atol=1e-12)
    np.testing.assert_allclose(found[1][1].delta_h.get(), found[0][1].delta_h, atol=1e-11)


def test_training_keeps_links_on_the_device_and_parameters_where_they_are():
    source, target = WilsonAction(SMALL, 1.0), WilsonAction(SMALL, 1.1)
    blocks = tuple(random.haar_links(random.Rng(k), SMALL, 1, 4) for k in (1, 2))
    flow = ResidualSweep(SMALL, 1)
    found = {}
    for move, host in ((np.asarray, use_backend("reference")), (cupy.asarray, nullcontext())):
        ensemble = MemoryEnsemble(SMALL, tuple(move(block) for block in blocks))
        with host:
            trained = train(
                flow,
                flow.init(),
                source,
                target,
                ensemble,
                ensemble,
                loss=log_variance,
                optimiser=Adam(constant(0.01)),
                steps=2,
                batch=2,
                evaluate_every=1,
            )
        found[move] = trained.params["delta"]
        assert type(trained.params["delta"]) is np.ndarray
    np.testing.assert_allclose(found[cupy.asarray], found[np.asarray], atol=1e-12)


RUN = """
[lattice]
shape = [2, 2]
[group]
n = 2
[source]
beta = 1.0
[sampler]
seed = 5
chains = 2
burn_in = 1
separation = 1
configurations = 2
overrelaxation = 1
[output]
dir = "{folder}"
"""


def test_command(tmp_path):
    """``gaugeflow sample`` makes the same ensemble on either back end."""
    found = {}
    for backend in ("reference", "cupy"):
        run = tmp_path / f"{backend}.toml"
        run.write_text(RUN.format(folder=tmp_path / backend))
        result = CliRunner().invoke(main, ["sample", str(run), "--json", "--backend", backend], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        found[backend] = json.loads(result.stdout)["plaquette"]["mean"]
    assert abs(found["cupy"] - found["reference"]) < 1e-12


PIPELINE = """
[lattice]
shape = [4, 4]
[group]
n = 1
[source]
beta = 1.0
[sampler]
seed = 5
chains = 1
burn_in = 1
separation = 1
configurations = 24
overrelaxation = 0
[target]
beta = [1.1]
[flow]
kind = "residual"
sweeps = 1
convolutions = [0]
[training]
configurations = 24
batch = 4
{training}
[observables]
names = ["plaquette", "t2_e"]
flow_time = 0.04
[output]
dir = "{folder}"
"""


@pytest.mark.parametrize(
    ("shape", "n", "options"),
    [
        ((2, 2, 2, 2), 3, ("--flow", "zeuthen", "--charge", "plaquette", "--charge", "five-loop", "--slices")),
        ((4, 2), 1, ("--flow", "iwasaki", "--slices")),
    ],
)
def test_measure(tmp_path, shape, n, options):
    """``gaugeflow measure`` reads on the host and measures on the device."""
    links = random.haar_links(random.Rng(7), Lattice(shape), n)
    path = tmp_path / "one.h5"
    io.write(path, io.Config(Lattice(shape).unpack(links, components=1)[0]))
    found = []
    for backend in ("reference", "cupy"):
        command = ["measure", str(path), "--flow-time", "0.02", *options, "--json", "--backend", backend]
        result = CliRunner().invoke(main, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        (row,) = json.loads(result.stdout)
        flow = row["flow"][-1]
        slices = [x for values in flow.pop("slices").values() for x in values]
        found.append([row["plaquette"], *row["polyakov_loop"], row["q"] or 0.0, *flow.values(), *slices])
    assert len(found[0]) == (19 if n == 3 else 22)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-10, atol=1e-12)


def test_pipeline(tmp_path):
    """``sample``, ``train`` and ``derive`` give the same derivatives on either back end."""
    found = {}
    for backend in ("reference", "cupy"):
        run = tmp_path / f"{backend}.toml"
        training = 'method = "adam"\nsteps = 1'
        run.write_text(PIPELINE.format(folder=tmp_path / backend, training=training))
        for command in ("sample", "train", "derive"):
            result = CliRunner().invoke(
                main, [command, str(run), "--json", "--backend", backend], catch_exceptions=False
            )
            assert result.exit_code == 0, result.output
        found[backend] = [row["value"] for row in json.loads(result.stdout)["derivatives"]]
    np.testing.assert_allclose(found["cupy"], found["reference"], rtol=1e-8)


@pytest.mark.slow
def test_demo(tmp_path):
    """A small cousin of the demo, from the first configuration to figures, equals that on the host."""
    from gaugeflow.systems import correlated_su3

    settings = correlated_su3.Settings(
        shape=(4, 4),
        n_colours=1,
        beta=2.0,
        steps=(0.1,),
        chains=4,
        blocks=5,
        burn_in=1,
        thin=1,
        overrelax=1,
        flow_time=0.1,
        training_shape=(4, 4),
        training_chains=8,
        training_blocks=3,
        training_steps=1,
    )
    reports = {}
    for backend in ("reference", "cupy"):
        with use_backend(backend):
            reports[backend] = correlated_su3.run(out=tmp_path / backend, settings=settings)
    values = [[row["value"] for row in reports[b].json[0]["derivatives"]] for b in ("reference", "cupy")]
    np.testing.assert_allclose(values[1], values[0], rtol=1e-8)


def test_bench_and_peak_rates():
    from gaugeflow import bench
    from gaugeflow_cupy.peak import peak

    peaks = {"threads": None, **peak(steps=2, triad_bytes=64, threads=8)}
    assert peaks["fma_gflops"] > 0
    assert peaks["triad_gbytes_per_second"] > 0
    for kernel in ("evolve", "heatbath", "residual_update", "smeared_update"):
        row = bench.time_kernel(kernel, (2, 2), 1, 2, "cupy", peaks, budget=0.0)
        assert row["seconds"] > 0
        assert row["gbytes_per_second"] > 0


def test_folds_of_the_command_fill_a_warp():
    assert devices.device() == "cpu"
    with use_backend("cupy"):
        assert devices.device() == "cuda"
        assert Lattice((8, 8)).suggest_fold(devices.device()) == (4, 4)


def test_systems_of_the_host_say_so(tmp_path):
    result = CliRunner().invoke(main, ["demo", "u1", "--quick", "--out", str(tmp_path), "--backend", "cupy"])
    assert result.exit_code != 0
    assert "u1 computes on the host: expected the back end numba or reference, got cupy" in result.output
