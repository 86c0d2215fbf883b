"""Source configurations of ``train`` and ``derive``: files of every form, their order, and ensembles that are others."""

import numpy as np
import pytest

from gaugeflow import ensembles, random
from gaugeflow.analysis import derivative_one_sided, gamma_method
from gaugeflow.cli import assembly
from gaugeflow.cli.source import find_source
from gaugeflow.io import Config, read_table, write
from gaugeflow.lattice import Lattice
from gaugeflow.runfile import read_runfile

RUN = """
[lattice]
shape = {shape}
[group]
n = {n}
[source]
beta = 2.0
{files}
{sampler}
[target]
beta = [2.1]
[flow]
kind = "residual"
convolutions = [0]
[training]
configurations = 24
batch = 8
[observables]
names = ["plaquette"]
[output]
dir = "out"
{output}
"""
SAMPLER = "[sampler]\nchains = 4\nburn_in = 5\nconfigurations = 8\nseparation = 2\noverrelaxation = 0\nseed = {}"


@pytest.fixture
def runfile(tmp_path):
    """Factory of run files; everything runs on the reference back end, which compiles nothing."""

    def make(shape=(4, 4), n=1, files="", sampler="", output=""):
        path = tmp_path / "run.toml"
        files = f'files = "{files}"' if files else ""
        path.write_text(RUN.format(shape=list(shape), n=n, files=files, sampler=sampler, output=output))
        return path

    return make


@pytest.fixture
def command(gaugeflow):
    return lambda name, path, status=0: gaugeflow(name, path, "--json", "--backend", "reference", status=status)


def store(folder, numbers, shape=(4, 4), n=1, form="h5"):
    """Random files ``c.NUMBER.form``, different for every number."""
    lattice = Lattice(shape)
    for number in numbers:
        links = lattice.unpack(random.haar_links(random.Rng(number), lattice, n), 1)[0]
        write(folder / f"c.{number}.{form}", Config(links))


@pytest.fixture
def killed(monkeypatch):
    """``derive`` writes after every batch, and its second piece of work is interrupted."""
    monkeypatch.setattr("gaugeflow.cli.derive._CHUNK", 1)
    measure, calls = ensembles.measure_with_noise, []

    def work(*arguments, **options):
        calls.append(len(arguments[0]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*arguments, **options)

    monkeypatch.setattr(ensembles, "measure_with_noise", work)
    monkeypatch.setattr("gaugeflow.cli.assembly.batch_size", lambda run: 10)
    return calls


@pytest.mark.parametrize("form", ["nersc", "ildg"])
def test_derive_from_files(runfile, command, killed, tmp_path, form):
    """4D SU(2) files in several pieces of work, interrupted between the first and the second."""
    store(tmp_path, range(24), (2, 2, 2, 2), 2, form)
    path = runfile((2, 2, 2, 2), 2, f"*.{form}")
    (trained,) = command("train", path)
    assert trained["held_out_configurations"] == 6
    assert "give the same command again to go on from what is in" in command("derive", path, status=130)
    result = command("derive", path)
    assert killed == [10, 10, 10, 4]
    assert result["n_configurations"] == 24
    columns, _ = read_table(tmp_path / "out/measurements.h5")
    np.testing.assert_array_equal(columns["id"], np.arange(24))
    assert all(np.isfinite(row["error"]) for row in result["derivatives"])


def test_files_of_another_group_are_refused(runfile, command, tmp_path):
    store(tmp_path, range(24), n=2)
    text = command("train", runfile(n=3, files="c.*.h5"), status=2)
    assert "c.0.h5: number of colours: expected 3, found 2" in text


def test_numbers_in_names_count_as_numbers(runfile, tmp_path):
    store(tmp_path, (100, 80, 9))
    found = find_source(read_runfile(runfile(files="c.*.h5")))
    assert [file.name for file in found.files] == ["c.9.h5", "c.80.h5", "c.100.h5"]
    assert found.id.tolist() == [9, 80, 100]
    assert found.chain.tolist() == [0, 0, 0]


def test_derive_from_files_with_gaps(runfile, command, tmp_path):
    """Numbers are those of the files, so that what is missing is known to the analysis; a later file fits in."""
    numbers = [*range(0, 200, 10), *range(240, 300, 10)]
    store(tmp_path, numbers)
    path = runfile(files="c.*.h5")
    command("train", path)
    tau = command("derive", path)["derivatives"][0]["tau_int"]
    columns, _ = read_table(tmp_path / "out/measurements.h5")
    assert columns["id"].tolist() == numbers
    data = ensembles.Measurements()
    data.add(
        columns["id"], columns["chain"], {name: columns[name] for name in ("plaquette", "plainbeta+0.1|log_weight")}
    )
    series = derivative_one_sided(
        *(data.series(n) for n in ("plaquette", "plaquette", "plainbeta+0.1|log_weight")), 0.1
    )
    assert series.spacing == 10
    assert gamma_method(series).tau_int == pytest.approx(tau, rel=1e-12)
    store(tmp_path, (310,))
    command("derive", path)
    assert read_table(tmp_path / "out/measurements.h5")[0]["id"].tolist() == [*numbers, 310]


def test_measurements_of_other_files_are_refused(runfile, command, tmp_path):
    """A file that comes before those that are measured, and files that are gone; more files at the end are welcome."""
    store(tmp_path, range(10, 34))
    path = runfile(files="c.*.h5")
    command("train", path)
    assert command("derive", path)["n_configurations"] == 24
    store(tmp_path, (40,))
    assert command("derive", path)["n_configurations"] == 25
    store(tmp_path, (1,))
    assert "measurements of another ensemble: chain 0, number 1 of " in command("derive", path, status=2)
    (tmp_path / "c.1.h5").unlink()
    (tmp_path / "c.40.h5").unlink()
    assert "holds 25 configurations, the source 24" in command("derive", path, status=2)


def test_measurements_of_another_ensemble_are_refused(runfile, command, tmp_path):
    path = runfile(sampler=SAMPLER.format(1))
    command("sample", path)
    command("train", path)
    command("derive", path)
    for name in ("ensemble.h5", "sampler.h5"):
        (tmp_path / "out" / name).unlink()
    path = runfile(sampler=SAMPLER.format(2))
    command("sample", path)
    assert "measurements of another ensemble: chain 0, number 0 of " in command("derive", path, status=2)


@pytest.mark.parametrize(
    ("shape", "batch", "fold"),
    [
        ((8, 8), 64, (1, 1)),
        ((4, 4, 4, 4), 8, (1, 1, 1, 1)),
        ((8, 8, 8, 8), 1, (2, 2, 2, 1)),
        ((6, 6, 6, 6), 8, (1, 1, 1, 1)),
    ],
)
def test_small_lattices_are_worked_on_many_at_a_time(runfile, shape, batch, fold):
    run = read_runfile(runfile(shape, files="x"))
    assert assembly.batch_size(run) == batch
    assert assembly.make_lattice(run, batch).fold == fold


def test_training_configurations_come_from_everywhere(runfile, command, tmp_path):
    """Chains equally often; held out are others than those that are fitted, and chains of their own where possible."""
    path = runfile(sampler=SAMPLER.format(1))
    command("sample", path)
    given = find_source(read_runfile(path))
    fitted, held_out = given.spread(16)
    assert np.bincount(given.chain[fitted + held_out]).tolist() == [4, 4, 4, 4]
    assert set(given.id[fitted]) == {0, 2, 4, 6}
    assert set(given.chain[held_out]) == {3}
    assert not set(fitted) & set(held_out)


def test_configurations_before_the_first_are_not_used(runfile, command, tmp_path):
    """From an ensemble and from files; measurements from another number on are not continued."""
    path = runfile(sampler=SAMPLER.format(1))
    command("sample", path)
    whole = path.read_text()

    def given(first):
        path.write_text(whole.replace("beta = 2.0", f"beta = 2.0\nfirst = {first}"))
        return find_source(read_runfile(path))

    assert sorted(set(given(2).id.tolist())) == [2, 3, 4, 5, 6, 7]
    every, later = given(0), given(3)
    assert len(every) == 32
    np.testing.assert_array_equal(later.checksum, every.checksum[-20:])
    assert command("train", path)[0]["training_configurations"] == 15
    assert command("derive", path)["n_configurations"] == 20
    assert read_table(tmp_path / "out/measurements.h5")[0]["id"].min() == 3
    given(2)
    assert "belongs to other parameters" in command("derive", path, status=2)
    given_by_files = runfile(files="c.*.h5")
    store(tmp_path, range(10, 34))
    given_by_files.write_text(given_by_files.read_text().replace("beta = 2.0", "beta = 2.0\nfirst = 30"))
    assert find_source(read_runfile(given_by_files)).id.tolist() == [30, 31, 32, 33]
    given_by_files.write_text(given_by_files.read_text().replace("= 30", "= 34"))
    assert "first: expected 33 at most, the largest number of a configuration, found 34" in command(
        "train", given_by_files, status=2
    )


def test_too_few_configurations_fail_before_any_work(runfile, command, tmp_path, monkeypatch):
    store(tmp_path, range(19))
    monkeypatch.setattr("gaugeflow.cli.train._fit", None)
    text = command("train", runfile(files="c.*.h5"), status=2)
    assert "expected at least 5 in the held-out quarter and 3 for the 1 coefficients of the fit, found 4 and 15" in text
    assert "(of 19 in the source)" in text


ADAM = 'beta = [2.1]\n[flow]\nkind = "residual"\nconvolutions = [0]\n[training]\nmethod = "adam"\nsteps = 12\n'


def test_adam_leaves_history_and_figure_and_continues_its_own_ensemble_only(runfile, command, tmp_path, monkeypatch):
    store(tmp_path, range(24))
    path = runfile(files="c.*.h5")
    head, tail = path.read_text().split("[target]")
    path.write_text(f"{head}[target]\n{ADAM}{tail.split('[training]')[1]}")
    command("train", path)
    columns, _ = read_table(tmp_path / "out/history-beta+0.1.h5")
    assert columns["step"].tolist() == [0, 10, 12]
    assert set(columns) == {"step", "loss", "ess", "ess_error", "seconds"}
    assert (tmp_path / "out/history-beta+0.1.png").stat().st_size > 1000
    (tmp_path / "c.3.h5").rename(tmp_path / "c.30.h5")
    assert "a checkpoint of another training" in command("train", path, status=2)

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("gaugeflow.training.train", interrupted)
    assert "give the same command again to go on from what is in" in command("train", path, status=130)


@pytest.mark.parametrize("form", ["scidac", "hdf5"])
def test_one_run_file_for_all_commands_in_any_format(runfile, command, tmp_path, form):
    """Files of single configurations give what the ensemble file gives."""
    path = runfile(sampler=SAMPLER.format(1), output=f'format = "{form}"')
    assert "run-0-000000" in command("train", path, status=2)
    command("sample", path)
    (trained,) = command("train", path)
    result = command("derive", path)
    for file in (tmp_path / "out").iterdir():
        file.unlink()
    path = runfile(sampler=SAMPLER.format(1))
    command("sample", path)
    assert command("train", path)[0]["ess_flow"] == trained["ess_flow"]
    assert command("derive", path)["derivatives"] == result["derivatives"]


def test_an_ensemble_of_another_action(command, runfile, tmp_path):
    """What was sampled at beta = 2.0 is no source, and no target, at another beta; ``first`` is no parameter of sampling."""
    path = runfile(sampler=SAMPLER.format(1))
    command("sample", path)
    given = path.read_text()
    for text in (given, runfile(files="out/ensemble.h5").read_text()):
        path.write_text(text.replace("beta = 2.0", "beta = 2.3"))
        assert "[source] beta was 2.0 and is 2.3" in command("train", path, status=2)
    path.write_text(given.replace("beta = [2.1]", 'beta = [2.1]\nfiles = "out/ensemble.h5"'))
    command("train", path)
    assert "[source] beta was 2.0 and is 2.1" in command("derive", path, status=2)
    path.write_text(given.replace("beta = 2.0", "beta = 2.0\nfirst = 1"))
    command("sample", path)
