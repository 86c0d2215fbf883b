"""The C interface: numbers of the library bit for bit, programs in C and Fortran, and every kind of wrong call."""

import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

import gaugeflow
from gaugeflow import io
from gaugeflow.actions import PulledBack, WilsonAction
from gaugeflow.analysis import Series, gamma_method
from gaugeflow.cli.assembly import flow_form, make_flow, make_lattice
from gaugeflow.cli.embed import build_library, link_flags
from gaugeflow.embed.handles import fastest_lattice
from gaugeflow.hadrons import point, propagator
from gaugeflow.interop import fermions_to, links_to
from gaugeflow.io.params import write_params
from gaugeflow.lattice import Lattice
from gaugeflow.observables import advance, flow_history
from gaugeflow.operators import Clover, Wilson
from gaugeflow.random import Rng, haar_links, normal
from gaugeflow.runfile import read_runfile
from gaugeflow.solvers import solve
from gaugeflow.systems.exact_u1 import plaquette as exact_plaquette

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
OK, ARGUMENT, HANDLE, CONVERGENCE, FILE = range(5)
RUN = """
[lattice]
shape = {shape}
[group]
n = {n}
[source]
beta = {beta}
[sampler]
configurations = 1
[target]
beta = [2.2]
[fermions]
kappa = [0.11]
csw = 1.0
[flow]
kind = "residual"
convolutions = [0]
[output]
dir = "results"
"""


class Field(ctypes.Structure):
    """``gf_field``."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("layout", ctypes.c_char_p),
        *((name, ctypes.c_int32) for name in ("precision", "colours", "spin", "configurations", "dimensions")),
        ("extents", ctypes.c_int32 * 8),
        ("domain", ctypes.c_int64),
    )


def _describe(array, shape, layout=None, n=3, spin=0, batch=1):
    precision = 64 if array.dtype == np.complex128 else 32
    name = None if layout is None else layout.encode()
    return Field(array.ctypes.data, name, precision, n, spin, batch, len(shape), (ctypes.c_int32 * 8)(*shape))


@pytest.fixture(scope="module")
def c(library):
    """The functions of the library, called from this process as from any C program."""
    loaded = ctypes.CDLL(str(library / "libgaugeflow.so"))
    loaded.gf_message.restype = ctypes.c_char_p
    doubles = {"gf_wilson": 2, "gf_dirac": 2}
    for name, count in doubles.items():
        getattr(loaded, name).argtypes = [ctypes.c_double] * count
    return loaded


def _run_file(folder, shape, n, beta, step):
    """A run file, and a file of parameters of its flow."""
    path = folder / "run.toml"
    text = RUN.format(shape=list(shape), n=n, beta=beta)
    path.write_text(text if len(shape) == 4 else text.replace("csw = 1.0", ""))
    run = read_runfile(path)
    params = make_flow(run, make_lattice(run, 8)).init(Rng(2))
    params = {sweep: {name: np.asarray(value) + step for name, value in p.items()} for sweep, p in params.items()}
    write_params(folder / "flow.h5", params, attributes=io.provenance(flow=flow_form(run)))
    return run, params


def _handle(c, call, *arguments):
    handle = ctypes.c_int64()
    status = getattr(c, call)(*arguments, ctypes.byref(handle))
    assert status == OK, c.gf_message()
    return ctypes.c_int64(handle.value)


def _text(path):
    return str(path).encode()


@pytest.mark.parametrize("layout", [None, "qdp", "openqcd"])
def test_numbers_of_the_library(c, tmp_path, layout):
    """Everything that a host can ask for is what Python gives, bit for bit, and nothing beyond the fields is touched."""
    shape = (4, 4, 2, 6)
    run, params = _run_file(tmp_path, shape, 3, 2.0, 0.01)
    lattice, plain = make_lattice(run, 1), Lattice(shape)
    conventional = plain.unpack(haar_links(Rng(1), plain, 3, 1), 1)
    x = lattice.pack(conventional, 1)

    def memory(field, spin=0):
        """A field in the host's layout, between guards."""
        if layout is None:
            found = plain.pack(lattice.unpack(field, int(not spin)), int(not spin))
        else:
            found = (fermions_to if spin else links_to)(lattice, field, layout)
        return np.concatenate([np.full(8, 7.0), found.reshape(-1), np.full(8, 7.0)])

    alive = []

    def described(room, spin=0):
        alive.append(room)  # ctypes keeps no array
        return ctypes.byref(_describe(room[8:-8], shape, layout, spin=spin))

    def check(room, field, spin=0):
        expected = memory(field, spin)
        assert room.tobytes() == expected.tobytes()

    held = memory(x)
    assert layout or (held[8:-8] == plain.pack(conventional, 1).reshape(-1)).all()
    links = described(held)
    room = np.full_like(held, 7.0)
    value, log_det = ctypes.c_double(), ctypes.c_double()
    r = _handle(c, "gf_open", _text(run.path))
    flow = _handle(c, "gf_flow", r, _text(tmp_path / "flow.h5"))
    target = _handle(c, "gf_target", r, ctypes.c_double(2.2))
    source = _handle(c, "gf_source", r)
    pulled = _handle(c, "gf_pull_back", target, flow)
    action = PulledBack(WilsonAction(lattice, 2.2), make_flow(run, lattice), params)

    assert c.gf_value(pulled, links, ctypes.byref(value)) == OK
    assert value.value == action.value(x)[0]
    assert c.gf_force(pulled, links, described(room)) == OK
    check(room, action.grad(x))
    y, change = action.flow.forward(params, x)
    assert c.gf_forward(flow, links, described(room), ctypes.byref(log_det)) == OK, c.gf_message()
    assert log_det.value == change[0]
    assert abs(log_det.value) > 0.1
    check(room, y)
    assert c.gf_inverse(flow, described(memory(y)), described(room), ctypes.byref(log_det)) == OK
    back, minus = action.flow.inverse(params, y)
    assert log_det.value == minus[0]
    check(room, back)
    assert c.gf_log_weight(source, target, flow, links, ctypes.byref(value)) == OK
    assert value.value == (WilsonAction(lattice, 2.0).value(x) - action.action.value(y) + change)[0]
    assert c.gf_log_weight(source, target, ctypes.c_int64(0), links, ctypes.byref(value)) == OK
    assert value.value == (WilsonAction(lattice, 2.0).value(x) - action.action.value(x))[0]

    measured = Lattice(shape, lattice.fold)
    history = flow_history(measured, x, (0.1, 0.2), step=0.05)
    times, energy, charge = (ctypes.c_double * 2)(0.1, 0.2), (ctypes.c_double * 2)(), (ctypes.c_double * 2)()
    step = ctypes.c_double(0.05)
    assert c.gf_gradient_flow(links, 2, times, step, energy, charge) == OK, c.gf_message()
    assert list(energy) == history.t2_e[:, 0].tolist()
    assert list(charge) == history.q[:, 0].tolist()
    assert c.gf_gradient_flow(links, 2, times, step, None, None) == OK
    assert c.gf_flowed(links, ctypes.c_double(0.1), step, described(room)) == OK
    check(room, advance(measured, x, 0.1, step=0.05))

    b = normal(Rng(4), lattice, 12) + 0j
    b = b.reshape(4, 3, *b.shape[1:]).transpose(2, 0, 1, 3).copy()
    room = np.full_like(memory(b, 4), 7.0)
    quark = _handle(c, "gf_quark", r, 0)
    residual, iterations = ctypes.c_double(), ctypes.c_int64()
    tolerance = ctypes.c_double(1e-5)
    clover = Clover(lattice=lattice, kappa=0.11, csw=1.0)
    angles = (ctypes.c_double * 4)(1.0, 0.0, 0.0, 0.5)
    dirac = _handle(c, "gf_dirac", ctypes.c_double(0.1), ctypes.c_double(0.0), 4, angles)
    wilson = Wilson(lattice=lattice, kappa=0.1, boundary=(-1.0, 1.0, 1.0, 1j))
    right = described(memory(b, 4), 4)
    for handle, operator in ((quark, clover), (dirac, wilson)):
        expected = solve(operator.with_links(x), b, tolerance=1e-5)
        results = (ctypes.byref(residual), ctypes.byref(iterations))
        assert c.gf_solve(handle, links, right, tolerance, described(room, 4), *results) == OK, c.gf_message()
        assert (residual.value, iterations.value) == (expected.residual[0], expected.iterations[0])
        check(room, expected.x, 4)
    for handle in (pulled, source, target, flow, r, quark, dirac):
        assert c.gf_close(handle) == OK
    from gaugeflow.embed.calls import handles

    assert len(handles) == 0
    assert (held == memory(x)).all()  # no call writes into what it reads


@pytest.mark.parametrize("layout", ["gaugeflow", "milc"])
def test_single_precision(c, layout):
    shape = (4, 4, 2, 6)
    plain = Lattice(shape)
    lattice = fastest_lattice(shape, 1)
    conventional = plain.unpack(haar_links(Rng(1), plain, 3, 1), 1).astype(np.complex64)
    x = lattice.pack(conventional, 1)
    there = (
        (lambda u: plain.pack(lattice.unpack(u, 1), 1))
        if layout == "gaugeflow"
        else (lambda u: links_to(lattice, u, layout))
    )
    links = there(x)
    force = np.zeros_like(links)
    action = _handle(c, "gf_wilson", ctypes.c_double(2.0), ctypes.c_double(0.5))
    u, f = (ctypes.byref(_describe(a, shape, layout)) for a in (links, force))
    assert c.gf_force(action, u, f) == OK
    assert (force == there(WilsonAction(lattice, 2.0, 0.5).grad(x))).all()
    assert force.dtype == np.complex64
    assert c.gf_close(action) == OK


def test_many_configurations_in_our_layout(c):
    """With enough of them the host's memory itself is computed on."""
    from gaugeflow.embed.memory import HostField

    lattice = Lattice((4, 4))
    links = haar_links(Rng(1), lattice, 2, 8)
    force = np.zeros_like(links)
    action = _handle(c, "gf_wilson", ctypes.c_double(2.0), ctypes.c_double(0.0))
    arguments = [ctypes.byref(_describe(a, (4, 4), n=2, batch=8)) for a in (links, force)]
    assert c.gf_force(action, *arguments) == OK
    assert (force == WilsonAction(lattice, 2.0).grad(links)).all()
    assert c.gf_close(action) == OK
    ffi = pytest.importorskip("cffi").FFI()
    field = HostField(ffi, ffi.from_buffer(links), "gaugeflow", 64, 2, 0, 8, (4, 4))
    assert np.shares_memory(field.read(lattice), links)


def test_wrong_calls(c, tmp_path):
    """A status and a message that names the argument; results stay untouched."""
    run, _ = _run_file(tmp_path, (4, 4), 1, 2.0, 0.0)
    links = np.ones((2, 16, 1, 1, 1), complex)
    value = ctypes.c_double(-5.0)
    result = ctypes.byref(value)
    r, flow = _handle(c, "gf_open", _text(run.path)), ctypes.c_int64()
    action = _handle(c, "gf_source", r)
    closed = _handle(c, "gf_source", r)
    assert c.gf_close(closed) == OK

    def links_with(**changes):
        field = _describe(links, (4, 4), n=1)
        for name, changed in changes.items():
            setattr(field, name, changed)
        return ctypes.byref(field)

    good, none = links_with(), ctypes.c_int64(0)
    wide = (ctypes.c_int32 * 8)(4, 6)
    cases = [
        (ARGUMENT, "links: expected a gf_field, got NULL", c.gf_value, action, None, result),
        (ARGUMENT, "values: expected a pointer, got NULL", c.gf_value, action, good, None),
        (ARGUMENT, "links: expected data, got NULL", c.gf_value, action, links_with(data=None), result),
        (ARGUMENT, "expected extents (4, 4) as in", c.gf_value, action, links_with(extents=wide), result),
        (ARGUMENT, "expected 2 to 8 dimensions, got 9", c.gf_value, action, links_with(dimensions=9), result),
        (ARGUMENT, "precision 64 or 32, got 16", c.gf_value, action, links_with(precision=16), result),
        (ARGUMENT, "colours of at least 1, got 0", c.gf_value, action, links_with(colours=0), result),
        (ARGUMENT, "configurations of at least 1, got -1", c.gf_value, action, links_with(configurations=-1), result),
        (ARGUMENT, "layout: expected one of", c.gf_value, action, links_with(layout=b"lexical"), result),
        (ARGUMENT, "expected spin 0", c.gf_value, action, links_with(spin=4), result),
        (ARGUMENT, "force: expected a gf_field, got NULL", c.gf_force, action, good, None),
        (ARGUMENT, "force: expected configurations 1, got 2", c.gf_force, action, good, links_with(configurations=2)),
        (HANDLE, f"expected an open one, got {closed.value}", c.gf_value, closed, good, result),
        (HANDLE, "expected an open one, got 0", c.gf_value, none, good, result),
        (HANDLE, "expected one of kind flow, got kind action", c.gf_forward, action, good, good, result),
        (HANDLE, f"expected an open one, got {closed.value}", c.gf_close, closed),
        (FILE, "missing.toml", c.gf_open, _text(tmp_path / "missing.toml"), result),
        (ARGUMENT, "run_file: expected a pointer, got NULL", c.gf_open, None, result),
        (ARGUMENT, "handle: expected a pointer, got NULL", c.gf_source, r, None),
        (FILE, "missing.h5", c.gf_flow, r, _text(tmp_path / "missing.h5"), ctypes.byref(flow)),
        (FILE, "missing.ildg", c.gf_read, _text(tmp_path / "missing.ildg"), good),
        (
            ARGUMENT,
            "expected a number that is finite, got nan",
            c.gf_wilson,
            ctypes.c_double(np.nan),
            ctypes.c_double(0.0),
            ctypes.byref(flow),
        ),
        (
            ARGUMENT,
            "count: expected at least one",
            c.gf_gradient_flow,
            good,
            0,
            result,
            ctypes.c_double(0.1),
            None,
            None,
        ),
        (ARGUMENT, "times: expected a pointer", c.gf_gradient_flow, good, 1, None, ctypes.c_double(0.1), None, None),
        (ARGUMENT, "index: expected 0 to 0, got 3", c.gf_quark, r, 3, ctypes.byref(flow)),
        (ARGUMENT, "major: expected a pointer, got NULL", c.gf_version, None, None),
        (ARGUMENT, "threads: expected 1 to", c.gf_threads, -1),
    ]
    for status, message, call, *arguments in cases:
        found = call(*arguments)
        assert (found, message in c.gf_message().decode()) == (status, True), (message, found, c.gf_message())
    map_ = _handle(c, "gf_flow", r, _text(tmp_path / "flow.h5"))
    assert c.gf_forward(map_, good, links_with(layout=b"lexical"), result) == ARGUMENT
    path = tmp_path / "kappa.toml"  # quarks are no part of gauge actions
    path.write_text(run.path.read_text().replace("beta = [2.2]", "kappa = [0.12]"))
    quarks = _handle(c, "gf_open", _text(path))
    assert c.gf_target(quarks, ctypes.c_double(0.16), ctypes.byref(flow)) == ARGUMENT
    assert b"[target] kappa: expected beta or anisotropy" in c.gf_message()
    for handle in (map_, quarks):
        assert c.gf_close(handle) == OK
    links[0, 3] = np.nan
    assert c.gf_value(action, good, result) == CONVERGENCE
    assert b"values: expected finite numbers, got [nan]" in c.gf_message()
    force = np.full_like(links, 7.0)
    assert c.gf_force(action, good, ctypes.byref(_describe(force, (4, 4), n=1))) == CONVERGENCE
    assert (value.value, flow.value) == (-5.0, 0)
    assert (force == 7.0).all()
    for handle in (r, action):
        assert c.gf_close(handle) == OK
    assert c.gf_message() == b""


def test_run_of_another_flow(c, tmp_path):
    run, params = _run_file(tmp_path, (4, 4), 1, 2.0, 0.0)
    write_params(tmp_path / "other.h5", params, attributes=io.provenance(flow={"kind": "smeared"}))
    r, flow = _handle(c, "gf_open", _text(run.path)), ctypes.c_int64()
    assert c.gf_flow(r, _text(tmp_path / "other.h5"), ctypes.byref(flow)) == ARGUMENT
    assert b"is another flow" in c.gf_message()
    (tmp_path / "other.h5").write_bytes(b"no HDF5")
    assert c.gf_flow(r, _text(tmp_path / "other.h5"), ctypes.byref(flow)) == FILE
    assert c.gf_close(r) == OK


def test_hmc_in_c(host, tmp_path):
    """<exp(-Delta H)> = 1 and the exact plaquette of U(1) on 8 x 8 at beta = 2.2, within 4 sigma, fixed seed."""
    run, _ = _run_file(tmp_path, (8, 8), 1, 2.0, 0.03)
    out = tmp_path / "out"
    host(EXAMPLES / "hmc.c", run.path, tmp_path / "flow.h5", 2.2, 60, out)
    exp_dh, plaquettes = np.fromfile(out).reshape(60, 2, 32).transpose(1, 2, 0)
    assert np.std(np.log(exp_dh)) > 0.05  # the integrator's errors are there to be corrected
    for values, exact in ((exp_dh, 1.0), (plaquettes, exact_plaquette(2.2, 64))):
        found = gamma_method(Series.from_chains(list(values)))
        assert abs(found.value - exact) < 4 * found.error, (found, exact)
        assert found.error < 0.02


def test_measurement_loop_in_c(host, tmp_path):
    """Files in two formats: energy, charge and correlator are those of Python."""
    lattice = Lattice((8, 4, 4, 4), (2, 2, 2, 1))
    files, expected = [], []
    for k, name in enumerate(("a.ildg", "b.nersc")):
        x = haar_links(Rng(k), lattice, 3, 1)
        files.append(tmp_path / name)
        io.write(files[-1], io.Config(lattice.unpack(x, 1)[0]))
        history = flow_history(lattice, x, (0.1,))
        source = point(Wilson(lattice=lattice, links=x, kappa=0.1), (0, 0, 0, 0))
        quark = propagator(Wilson(lattice=lattice, links=x, kappa=0.1), source)
        column = lattice.unpack(quark.field[0], 0)[0]
        sums = (abs(column) ** 2).sum(axis=(1, 2, 3, 4, 5))
        expected.append([history.t2_e[0, 0], history.q[0, 0], *sums])
    printed = host(EXAMPLES / "measure.c", 0.1, 0.1, *files)
    found = [[float(word) for word in line.split()] for line in printed.splitlines()]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_threads_of_the_host(host):
    """Under the sanitizers of addresses and of undefined behaviour, too; memory that Python keeps to the end is no leak."""
    program = Path(__file__).parent / "threads.c"
    assert host(program) == ""
    # this layer of Numba ends a program that runs two kernels at once
    layer = {"NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "2"}
    assert host(program, options=("-std=gnu11", "-O1", "-DEXTENT=16"), **layer) == ""
    sanitizers = ("-std=gnu11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    assert host(program, options=sanitizers, ASAN_OPTIONS="detect_leaks=0") == ""


@pytest.mark.slow
def test_calls_leave_no_memory_behind(host, tmp_path):
    """As many lost blocks after many calls as after few, those of the start of Python, and no bad access of our code."""
    valgrind = shutil.which("valgrind")
    if valgrind is None or platform.machine() != "x86_64":
        pytest.skip("no valgrind for x86-64")
    # valgrind knows no instructions of AVX-512, and Numba compiles a hundred times faster outside of it
    instructions = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}
    program, lost = Path(__file__).parent / "threads.c", []
    for rounds in (5, 105):
        options = ("-std=gnu11", "-g", "-O1", f"-DROUNDS={rounds}")
        assert host(program, options=options, **instructions) == ""
        log = tmp_path / f"{rounds}.log"
        under = (valgrind, "--leak-check=full", f"--log-file={log}")
        assert host(program, options=options, under=under, PYTHONMALLOC="malloc", **instructions) == ""
        found = log.read_text()
        blocks = re.findall(r"(?:definitely|indirectly) lost: [\d,]+ bytes in ([\d,]+) blocks", found)
        assert len(blocks) == 2
        lost.append(sum(int(count.replace(",", "")) for count in blocks))
        accesses = re.findall(r"Invalid (?:read|write).*\n==\d+== +at [^\n]*", found)
        assert not [access for access in accesses if "gaugeflow" in access or "gf_" in access]
    assert abs(lost[1] - lost[0]) < 100  # of two threads with a hundred more rounds


def _first_call(library, folder, **environment):
    """A program that makes one wrong call."""
    text = '#include "gaugeflow.h"\n#include <stdio.h>\nint main(void) { int s = gf_close(1); puts(gf_message()); return s; }'
    (folder / "a.c").write_text(text)
    subprocess.run(["gcc", f"-I{library}", "a.c", "-o", "a", *link_flags(library)], check=True, cwd=folder)
    return subprocess.run(
        [str(folder / "a")], check=False, capture_output=True, text=True, env={**os.environ, **environment}, timeout=60
    )


def test_search_paths_of_the_host(library, tmp_path):
    """Modules of a cluster set them for other programs."""
    for name in ("numpy", "gaugeflow"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('of another installation')")
    done = _first_call(library, tmp_path, PYTHONPATH=str(tmp_path), PYTHONHOME="/nowhere", PYTHONSTARTUP="/nowhere")
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout == "gf_close: handle: expected an open one, got 1\n"


@pytest.mark.parametrize("told", [False, True])
def test_packages_that_only_a_search_path_leads_to(tmp_path, monkeypatch, told):
    """Found if PYTHONPATH named them to the build; otherwise a status, and only then does Python write to stderr."""
    venv.create(tmp_path / "bare", symlinks=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    places = {str(Path(module.__file__).parents[1]) for module in (gaugeflow, np)} if told else ()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    build_library(tmp_path / "lib")
    done = _first_call(tmp_path / "lib", tmp_path, PYTHONPATH="")
    if told:
        assert (done.returncode, done.stderr) == (2, "")
    else:
        assert done.returncode == 6
        assert done.stdout == "the library could not be started; stderr says why\n"
        assert "No module named" in done.stderr


def test_fortran(host, library):
    if shutil.which("gfortran") is None:
        pytest.skip("no gfortran")
    options = ("-O1", "-Wall", str(library / "gaugeflow.f90"))
    printed = host(EXAMPLES / "action.f90", compiler="gfortran", options=options)
    assert [float(word) for word in printed.split()] == [-6.0 * 6 * 4**4, 0.0]


def test_old_c(library, tmp_path):
    """The header is C99."""
    (tmp_path / "a.c").write_text(
        '#include "gaugeflow.h"\nint main(void) { gf_field f; return f.data == 0 && gf_close(0); }\n'
    )
    flags = ["-std=c99", "-pedantic", "-Wall", "-Werror", "-fsyntax-only", f"-I{library}"]
    subprocess.run(["gcc", *flags, "a.c"], check=True, cwd=tmp_path)


def test_cpp(host, tmp_path):
    """A program in C++11: the action of U(1) links that are 1, and its force."""
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    (tmp_path / "action.cpp").write_text(
        """
#include <complex>
#include <iostream>
#include <vector>
#include "gaugeflow.h"

int main() {
  std::vector<std::complex<double>> links(2 * 16, 1.0), force(2 * 16, 7.0);
  gf_field u = gf_field();
  u.data = links.data(), u.precision = 64, u.colours = u.configurations = 1, u.dimensions = 2;
  u.extents[0] = u.extents[1] = 4;
  gf_field f = u;
  f.data = force.data();
  gf_handle action = 0;
  double value = 0, norm = 0;
  if (gf_wilson(2.0, 0.0, &action) || gf_value(action, &u, &value) || gf_force(action, &u, &f)) return 1;
  for (const auto &x : force) norm += std::norm(x);
  std::cout << value << ' ' << norm << '\\n';
  return gf_close(action);
}
"""
    )
    options = ("-std=c++11", "-pedantic", "-Wall", "-Werror")
    printed = host(tmp_path / "action.cpp", compiler="g++", options=options)
    assert [float(word) for word in printed.split()] == [-2.0 * 16, 0.0]


def test_command(tmp_path, monkeypatch):
    """What --cflags and --libs print compiles; what is missing is said."""
    from click.testing import CliRunner

    from gaugeflow.cli import main

    (tmp_path / "lib").mkdir()
    shown = CliRunner().invoke(main, ["embed", "--cflags", str(tmp_path / "lib"), "--libs", str(tmp_path / "lib")])
    assert shown.output.split() == [
        f"-I{tmp_path}/lib",
        f"-L{tmp_path}/lib",
        f"-Wl,-rpath,{tmp_path}/lib",
        "-lgaugeflow",
    ]
    assert CliRunner().invoke(main, ["embed"]).exit_code == 2
    pytest.importorskip("cffi", reason="cffi is not installed")
    monkeypatch.setenv("CC", "no-such-compiler")
    failed = CliRunner().invoke(main, ["embed", "--build", str(tmp_path / "lib")])
    assert failed.exit_code == 2
    assert "needs a C compiler" in failed.output


def test_header_and_fortran_module_agree():
    """Every function of the header is in the Fortran module, with as many arguments, and is implemented."""
    from gaugeflow.cli.embed import _declarations
    from gaugeflow.embed.calls import _Calls

    folder = Path(io.__file__).parents[1] / "embed"
    _, calls = _declarations((folder / "gaugeflow.h").read_text())
    module = (folder / "gaugeflow.f90").read_text()
    for name, _, names in calls:
        (found,) = re.findall(rf"function {name}\(([^)]*)\) bind\(c\)", module)
        assert len(found.split(",")) == len(names.split(",")), name
        assert callable(getattr(_Calls, name))
    assert {name for name, _, _ in calls} == {name for name in dir(_Calls) if name.startswith("gf_")}
    assert len(calls) > 15
