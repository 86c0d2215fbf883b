"""The run loop: thinning, resumption bit for bit after interrupts and kills, locks, damage, progress."""

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import h5py
import numpy as np
import pytest

from gaugeflow.analysis import gamma_method
from gaugeflow.backend import use_backend
from gaugeflow.errors import FormatError, GaugeflowError
from gaugeflow.kernels import plaquette
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath, configurations, run
from gaugeflow.samplers.checkpoint import Checkpoint

LATTICE = Lattice((4, 4))
SAMPLER = HeatBath(LATTICE, 2.0, n_overrelax=1, reunitarise_every=3)
RNG = Rng(11).stream("run")


class PolyakovLike:
    """Real part of one link, an observable that is not part of the info."""

    name = "link"

    def __call__(self, x):
        return x[0, 0, 0, 0].real


@pytest.fixture(autouse=True)
def _reference():
    with use_backend("reference"):
        yield


def start(batch=2):
    return SAMPLER.hot(RNG.stream("start"), 1, batch)


def same(a, b):
    assert a.steps == b.steps
    assert a.records.keys() == b.records.keys()
    assert all(np.array_equal(a.records[name], b.records[name]) for name in a.records)
    assert np.array_equal(a.state.x, b.state.x)
    assert a.state.step == b.state.step


def test_burn_in_thinning_records_and_callback():
    seen = []
    chain = run(SAMPLER, RNG, start(), 7, burn_in=3, thin=2, observe=[PolyakovLike()], callback=seen.append)
    assert chain.steps == [5, 7, 9]
    assert [s.step for s in seen] == chain.steps
    assert chain.state.step == 10
    assert chain.records["plaquette"].shape == chain.records["link"].shape == (3, 2)
    for i, sample in enumerate(seen):
        assert np.array_equal(chain.records["plaquette"][i], plaquette(LATTICE, sample.state.x)[0])
        assert np.array_equal(chain.records["link"][i], sample.state.x[0, 0, 0, 0].real)
    streamed = list(configurations(SAMPLER, RNG, start(), 7, burn_in=3, thin=2))
    assert [s.step for s in streamed] == chain.steps
    assert np.array_equal(streamed[-1].state.x, seen[-1].state.x)
    *_, last = configurations(SAMPLER, RNG, streamed[0].state, 7, burn_in=3, thin=2, first=streamed[0].step)
    assert np.array_equal(last.state.x, seen[-1].state.x)


def test_one_rng_serves_all_steps():
    """Steps differ although the stream is the same, and the same step repeats."""
    state = SAMPLER.cold(1)
    one, _ = SAMPLER.step(RNG, state)
    again, _ = SAMPLER.step(RNG, state)
    two, _ = SAMPLER.step(RNG, one._replace(x=state.x))
    assert np.array_equal(one.x, again.x)
    assert not np.any(one.x == two.x)


@pytest.mark.parametrize("when", [1, 4, 7, 12])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, when):
    options = {"burn_in": 2, "thin": 3, "observe": [PolyakovLike()], "checkpoint_every": 4}

    class Interrupting(PolyakovLike):
        calls = 0

        def __call__(self, x):
            Interrupting.calls += 1
            if Interrupting.calls == when:
                raise KeyboardInterrupt
            return super().__call__(x)

    whole = run(SAMPLER, RNG, start(), 40, **options)
    path = tmp_path / "chain.h5"
    with pytest.raises(KeyboardInterrupt):
        run(SAMPLER, RNG, start(), 40, checkpoint=path, **options | {"observe": [Interrupting()]})
    with h5py.File(path) as file:
        assert file.attrs["step"] == 2 + 3 * when - 1
    same(run(SAMPLER, RNG, start(), 40, checkpoint=path, **options), whole)
    same(run(SAMPLER, RNG, start(), 40, checkpoint=path, **options), whole)
    longer = run(SAMPLER, RNG, start(), 50, checkpoint=path, **options)
    same(longer, run(SAMPLER, RNG, start(), 50, **options))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["chain.h5"]


SCRIPT = """
import sys
from gaugeflow.backend import use_backend
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng
from gaugeflow.samplers import HeatBath, run

rng = Rng(11).stream("run")
sampler = HeatBath(Lattice((4, 4)), 2.0, n_overrelax=1, reunitarise_every=3)
with use_backend("reference"):
    run(sampler, rng, sampler.hot(rng.stream("start"), 1, 2), 10**6, checkpoint=sys.argv[1], checkpoint_every=1)
"""


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    """SIGKILL between and during checkpoints; the lock of the dead process is stale, the one of the living is not."""
    path = tmp_path / "chain.h5"
    for _ in range(2):
        before = path.stat().st_mtime_ns if path.exists() else 0
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(path)])
        deadline = time.monotonic() + 60
        while not path.exists() or path.stat().st_mtime_ns == before:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with pytest.raises(GaugeflowError, match=f"in use by another run: process {process.pid} on "):
            run(SAMPLER, RNG, start(), 10**6, checkpoint=path)
        time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert path.with_name("chain.h5.lock").exists()
    with h5py.File(path) as file:
        step = int(file.attrs["step"])
    assert step > 3
    same(run(SAMPLER, RNG, start(), step + 5, checkpoint=path), run(SAMPLER, RNG, start(), step + 5))


def test_resumed_with_another_fold(tmp_path):
    """The file holds fields site by site; one that holds them as they lie in memory is resumed as well."""
    folded = replace(SAMPLER, lattice=Lattice((4, 4), (2, 1)))
    expected, file = run(SAMPLER, RNG, start(), 4), tmp_path / "sites.h5"
    run(SAMPLER, RNG, start(), 2, checkpoint=file)
    with h5py.File(file) as stored:  # nor do checkpoints say what an older version would not have said
        assert "fold=" not in stored.attrs["run"]
        assert "frozen" not in stored.attrs["run"]
    chain = run(folded, RNG, folded.hot(RNG.stream("start"), 1, 2), 4, checkpoint=file)
    assert np.array_equal(folded.lattice.unpack(chain.state.x, 1), LATTICE.unpack(expected.state.x, 1))
    assert np.array_equal(chain.records["plaquette"], expected.records["plaquette"])
    with Checkpoint(tmp_path / "memory.h5") as checkpoint:
        run(SAMPLER, RNG, start(), 2, checkpoint=checkpoint)
    same(run(SAMPLER, RNG, start(), 4, checkpoint=tmp_path / "memory.h5"), expected)


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "chain.h5"
    run(SAMPLER, RNG, start(), 3, checkpoint=path)
    before = path.read_bytes()

    def fail(*paths):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        run(SAMPLER, RNG, start(), 5, checkpoint=path)
    assert path.read_bytes() == before


def test_refusals(tmp_path):
    path = tmp_path / "chain.h5"
    run(SAMPLER, RNG, start(), 4, checkpoint=path)
    with pytest.raises(ValueError, match="beyond burn_in"):
        run(SAMPLER, RNG, start(), 3, checkpoint=path)
    with pytest.raises(ValueError, match="another run: seed is 11, got 12"):
        run(SAMPLER, Rng(12).stream("run"), start(), 5, checkpoint=path)
    with pytest.raises(ValueError, match="another run: stream is"):
        run(SAMPLER, RNG.beginning_at(2), start(), 5, checkpoint=path)
    with pytest.raises(ValueError, match="another run: sampler is"):
        run(HeatBath(LATTICE, 2.5), RNG, start(), 5, checkpoint=path)
    with pytest.raises(ValueError, match="another run: thin is 1, got 2"):
        run(SAMPLER, RNG, start(), 5, checkpoint=path, thin=2)
    with pytest.raises(FormatError, match="x has shape"):
        run(SAMPLER, RNG, start(3), 5, checkpoint=path)
    with Checkpoint(path), pytest.raises(GaugeflowError, match="in use by another run"):
        run(SAMPLER, RNG, start(), 5, checkpoint=path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FormatError, match="cannot be read"):
        run(SAMPLER, RNG, start(), 5, checkpoint=path)
    with pytest.raises(ValueError, match="thin must be at least 1"):
        run(SAMPLER, RNG, start(), 5, thin=0)
    with pytest.raises(ValueError, match="n_overrelax must be at least 0"):
        HeatBath(LATTICE, 2.0, n_overrelax=-1)


def test_progress_is_shown_on_terminals_only(monkeypatch):
    for terminal in (False, True):
        stream = io.StringIO()
        stream.isatty = lambda terminal=terminal: terminal
        monkeypatch.setattr(sys, "stderr", stream)
        run(SAMPLER, RNG, start(), 3)
        assert ("3/3" in stream.getvalue()) == terminal


def test_two_dimensional_su2_is_exact():
    """beta = 2.7: 0.5329707336 within 3 sigma of 3e-4."""
    sampler = HeatBath(Lattice((8, 8)), 2.7, n_overrelax=1)
    with use_backend("numba"):
        chain = run(sampler, RNG, sampler.cold(2, 32), 1200, burn_in=50)
    found = gamma_method(chain.records["plaquette"].mean(axis=1))
    assert found.error < 4e-4
    assert abs(found.value - 0.5329707336) < 3 * found.error
