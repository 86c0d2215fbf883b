"""Objects of PyQUDA, lyncs and GPT, by stand-ins with the attributes that those programs document."""

import numpy as np
import pytest

from gaugeflow.interop import links_of, put_links
from gaugeflow.lattice import Lattice
from gaugeflow.random import Rng, haar_links

SHAPE = (4, 2, 6, 8)  # t, z, y, x
LATTICE = Lattice(SHAPE, (2, 1, 1, 2))


class _LatticeGauge:
    """pyquda.field.LatticeGauge: even-odd data, and the loop of its method lexico."""

    def __init__(self):
        self.latt_info = type("LatticeInfo", (), {"size": list(SHAPE[::-1])})()
        t, z, y, x = SHAPE
        self.data = np.zeros((4, 2, t, z, y, x // 2, 3, 3), "<c16")

    def lexico(self):
        found = np.zeros((4, *SHAPE, 3, 3), "<c16")
        for t, z, y in np.ndindex(SHAPE[:3]):
            even = (t + z + y) % 2
            found[:, t, z, y, even::2] = self.data[:, 0, t, z, y]
            found[:, t, z, y, 1 - even :: 2] = self.data[:, 1, t, z, y]
        return found


class _GaugeField:
    """lyncs_quda.GaugeField without reconstruction: QUDA's order, parity, direction, row, column, site of that parity."""

    def __init__(self):
        self.field = np.zeros((2, 4, 3, 3, np.prod(SHAPE) // 2), complex)

    def default_view(self):
        return self.field

    def at(self, mu, t, z, y, x):
        place = (((t * SHAPE[1] + z) * SHAPE[2] + y) * SHAPE[3] + x) // 2
        return self.field[(t + z + y + x) % 2, mu, :, :, place]


class _Lattice:
    """gpt.lattice: values at points given as an array of coordinates (x, y, z, t)."""

    def __init__(self):
        self.grid = type("grid", (), {"fdimensions": list(SHAPE[::-1])})()
        self._values = {}

    def __setitem__(self, points, values):
        assert points.dtype == np.int32
        self._values.update(zip(map(tuple, points.tolist()), values, strict=True))

    def __getitem__(self, points):
        return np.array([self._values[tuple(point)] for point in points.tolist()])


@pytest.fixture
def links():
    return haar_links(Rng(1), LATTICE, 3, 1)


def _conventional(links):
    return LATTICE.unpack(links, components=1)[0]


def test_pyquda(links):
    field = _LatticeGauge()
    put_links(LATTICE, links, field)
    assert (field.lexico()[::-1] == _conventional(links)).all()
    assert (links_of(LATTICE, field) == links).all()


def test_lyncs(links):
    field = _GaugeField()
    put_links(LATTICE, links, field)
    for site in np.ndindex(SHAPE):
        for mu in range(4):
            assert (field.at(mu, *site) == _conventional(links)[(3 - mu, *site)]).all()
    assert (links_of(LATTICE, field) == links).all()


def test_gpt(links):
    field = [_Lattice() for _ in range(4)]
    put_links(LATTICE, links, field)
    t, z, y, x = 3, 1, 4, 5
    for mu, u in enumerate(field):
        assert (u[np.array([[x, y, z, t]])][0] == _conventional(links)[3 - mu, t, z, y, x]).all()
    assert (links_of(LATTICE, field) == links).all()


def test_what_does_not_fit(links):
    other = Lattice((4, 4, 4, 4))
    with pytest.raises(TypeError, match=r"expected an object of PyQUDA .*, got ndarray"):
        links_of(LATTICE, links)
    for field in (_LatticeGauge(), _GaugeField(), [_Lattice()] * 4):
        with pytest.raises(ValueError, match="expected"):
            links_of(other, field)
        with pytest.raises(ValueError, match="expected"):
            put_links(other, haar_links(Rng(1), other, 3, 1), field)
    with pytest.raises(ValueError, match="expected one configuration, got 2"):
        put_links(LATTICE, haar_links(Rng(1), LATTICE, 3, 2), _LatticeGauge())
