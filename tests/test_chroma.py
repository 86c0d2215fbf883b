"""What Chroma logged about its fields: averages of links, a smeared source, propagators of Wilson and clover quarks."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from cases.dirac import PLANES, field_strength, gaussian_source, propagator, wilson_operator
from gaugeflow import kernels, observables
from gaugeflow.io import read
from gaugeflow.lattice import Lattice

WILSON, PRECONDITIONED, CLOVER = "unprec_wilson.out.xml", "prec_wilson.out.xml", "unprec_clover.out.xml"


@pytest.fixture(scope="module")
def weak_field(reference_folder):
    """The field of Chroma's regression tests, ``(4, 8, 4, 4, 4, 3, 3)``."""
    return read(reference_folder / "pyquda" / "weak_field.lime").links


@pytest.fixture(scope="module")
def log(reference_folder):
    """Reader of Chroma's files: ``log(name)`` is the root of the tree."""
    return lambda name: ElementTree.parse(reference_folder / "chroma" / name).getroot()


def _numbers(tree, path):
    return np.array([float(word) for word in tree.findtext(path).split()])


@pytest.mark.parametrize("name", [WILSON, PRECONDITIONED, CLOVER, "t_asqtad_prop.XMLDAT.reference"])
def test_averages_of_links(reference_folder, log, name):
    """Plaquettes of all, spatial, temporal and single planes, link traces, Polyakov loops of all directions."""
    stated = log(name).find("Observables")
    field = "chroma/t_nersc.cfg" if "asqtad" in name else "pyquda/weak_field.lime"
    array = read(reference_folder / field).links
    lattice = Lattice(array.shape[1:5])
    links = lattice.pack(array[None], components=1)
    planes = dict(zip(lattice.planes, kernels.plaquette(lattice, links), strict=True))
    found = {
        "w_plaq": observables.plaquette(lattice, links),
        "s_plaq": observables.plaquette_spatial(lattice, links),
        "t_plaq": observables.plaquette_temporal(lattice, links),
        "link": observables.link_trace(lattice, links),
        # Chroma counts directions x, y, z, t.
        **{f"plane_{i}{j}_plaq": planes[3 - j, 3 - i] for j in range(4) for i in range(j)},
    }
    expected = {average.tag: float(average.text) for average in stated if average.tag != "pollp"}
    assert {"w_plaq", "s_plaq", "t_plaq", "link"} <= set(expected)
    for key, value in expected.items():
        assert found[key][0] == pytest.approx(value, abs=4e-7), key  # sums in single precision
    loops = stated.findall("pollp/elem")
    assert len(loops) == (0 if "asqtad" in name else 4)
    for direction, loop in zip((3, 2, 1, 0), loops, strict=False):
        expected = complex(*(float(loop.findtext(part)) for part in ("re", "im")))
        assert observables.polyakov_loop(lattice, links, direction)[0] == pytest.approx(expected, abs=4e-7)


def test_field_strength_is_that_of_the_kernel(weak_field):
    """The clover term below and the densities of the library are made of the same F, here without its trace."""
    lattice = Lattice(weak_field.shape[1:5])
    assert lattice.planes == tuple(PLANES)
    energy, charge = kernels.clover(lattice, lattice.pack(weak_field[None], components=1))
    f = field_strength(weak_field).reshape(6, -1, 3, 3)
    f = f - np.trace(f, axis1=-2, axis2=-1)[..., None, None] * np.eye(3) / 3
    traces = np.einsum("pxab,qxba->pqx", f, f).real
    np.testing.assert_allclose(energy[..., 0], -np.diagonal(traces).T, rtol=1e-10)
    tz, ty, tx, zy, zx, yx = range(6)
    density = traces[ty, zx] - traces[tz, yx] - traces[tx, zy]
    np.testing.assert_allclose(charge[:, 0], density / (4 * np.pi**2), atol=1e-16)


@pytest.fixture(scope="module")
def source(weak_field):
    return gaussian_source(weak_field, width=2.0, steps=5)


def test_smeared_source(weak_field, source, log):
    """sum_x tr s^dagger s of the source, a gauge-invariant Gaussian; nothing outside its time slice."""
    parameters = log(WILSON).find(".//Source/SmearingParam")
    assert parameters.findtext("wvf_kind") == "GAUGE_INV_GAUSSIAN"
    assert (parameters.findtext("wvf_param"), parameters.findtext("wvfIntPar")) == ("2.0", "5")
    for name in (WILSON, PRECONDITIONED, CLOVER):
        np.testing.assert_allclose(_slices(source), _numbers(log(name), ".//source_corr"), rtol=2e-7)


@pytest.mark.parametrize("names", [(WILSON, PRECONDITIONED), (CLOVER,)], ids=["wilson", "clover"])
def test_propagators(weak_field, source, log, names):
    """sum_x tr S^dagger S of every time slice, from the parameters that the logs state; point sink, residual 1e-7."""
    quark = log(names[0]).find(".//FermionAction")
    kappa, xi_0, nu = (float(quark.findtext(key)) for key in ("Kappa", "AnisoParam/xi_0", "AnisoParam/nu"))
    c_space, c_time = (float(quark.findtext(key, "0")) for key in ("clovCoeffR", "clovCoeffT"))
    x, y, z, t = _numbers(quark, "FermionBC/boundary")
    operator = wilson_operator(
        weak_field,
        1 / (2 * kappa) - 4,
        hopping=(1.0, *3 * (nu / xi_0,)),
        clover=[c_time if 0 in plane else c_space / xi_0 for plane in PLANES],
        phases=(t, z, y, x),
    )
    found = _slices(propagator(operator, source))
    for name in names:
        np.testing.assert_allclose(found, _numbers(log(name), ".//prop_corr"), rtol=1e-6, err_msg=name)


def _slices(columns):
    """sum_x tr C^dagger C of each of the eight time slices."""
    return np.sum(abs(columns.reshape(8, -1)) ** 2, axis=1)
