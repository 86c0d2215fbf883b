"""What Chroma logged about its fields: averages of links, a smeared source, propagators of Wilson and clover quarks."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from gaugeflow import kernels, observables
from gaugeflow.hadrons import Gaussian, point, propagator, two_point
from gaugeflow.io import read
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Clover, Wilson, anisotropic

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


def _operator(log, name, links, lattice):
    """The Dirac operator that a log states."""
    quark = log(name).find(".//FermionAction")
    kappa, xi_0, nu = (float(quark.findtext(key)) for key in ("Kappa", "AnisoParam/xi_0", "AnisoParam/nu"))
    x, y, z, t = _numbers(quark, "FermionBC/boundary")
    options = {
        "lattice": lattice,
        "links": links,
        "boundary": (t, z, y, x),
        "mass": 1 / (2 * kappa) - 4,
        "hopping": anisotropic(xi_0, nu),
    }
    if name != CLOVER:
        return Wilson(**options)
    c_space, c_time = (float(quark.findtext(key)) for key in ("clovCoeffR", "clovCoeffT"))
    return Clover(csw=tuple(c_space / xi_0 if mu else c_time for mu, _ in lattice.planes), **options)


@pytest.mark.parametrize("names", [(WILSON, PRECONDITIONED), (CLOVER,)], ids=["wilson", "clover"])
def test_propagators(weak_field, log, names):
    """A gauge-invariant Gaussian source, and sum_x tr S^dagger S of every time slice: the pion. Residuals there are 1e-7."""
    lattice = Lattice(weak_field.shape[1:5], (2, 2, 2, 1))
    operator = _operator(log, names[0], lattice.pack(weak_field[None], components=1), lattice)
    smearing = log(names[0]).find(".//Source/SmearingParam")
    assert smearing.findtext("wvf_kind") == "GAUGE_INV_GAUSSIAN"
    width, steps = float(smearing.findtext("wvf_param")), int(smearing.findtext("wvfIntPar"))
    x, y, z, t = (int(i) for i in _numbers(log(names[0]), ".//Source/t_srce"))
    source = point(operator, (t, z, y, x), Gaussian(width, steps))
    slices = np.sum(abs(lattice.unpack(source.field, components=1)[0]) ** 2, axis=(0, 2, 3, 4, 5, 6))
    correlators = two_point(propagator(operator, source), channels=("pion",))
    found = correlators["pion"][0, :, 0]
    np.testing.assert_allclose(found.imag, 0.0, atol=1e-12)
    for name in names:
        np.testing.assert_allclose(slices, _numbers(log(name), ".//source_corr"), rtol=2e-7, err_msg=name)
        np.testing.assert_allclose(found.real, _numbers(log(name), ".//prop_corr"), rtol=1e-6, err_msg=name)
