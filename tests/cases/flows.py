"""Every flow by name: a factory of (flow, lattice, params, fields).  A row puts the flow through its whole contract.

``GAUGE_FLOWS`` are also checked for gauge covariance.  Lattices are the smallest that a flow works on, because the
contract's Jacobian is dense.
"""

from dataclasses import dataclass

import numpy as np

from cases.fields import links, ordered, scalars
from gaugeflow import nn, tree
from gaugeflow.flows import (
    AffineCoupling,
    AngleFlow,
    Chain,
    CircularSpline,
    Convolution,
    HalfLoop,
    LoopCoupling,
    OnScalar,
    ProjectionMixture,
    PseudofermionCoupling,
    ResidualSweep,
    ScalarCoupling,
    SinhArcsinh,
    SmearedSweep,
    Smearing,
    SpectralCoupling,
    TrivialisingFlow,
    affine_chain,
    block_chain,
    luescher_classes,
    plaquette_chain,
    spectral_chain,
)
from gaugeflow.flows.real.yukawa import HOPS
from gaugeflow.lattice import Box, Lattice
from gaugeflow.operators import Yukawa
from gaugeflow.random import Rng


@dataclass(frozen=True)
class NeighbourAffine:
    """The smallest honest flow: y = x exp(a m) + b m on odd sites, m the sum of the frozen even neighbours."""

    lattice: Lattice

    def init(self, rng):
        return {"scale": {"a": np.zeros(1)}, "b": np.zeros((1, 1))}

    def _frozen(self, x):
        """Active sites and the sum of their neighbours; no fold, for brevity."""
        active = self.lattice.sites_of_parity(1)
        hops = self.lattice.neighbour[:, :, active].reshape(-1, len(active))
        return active, hops, x[hops].sum(axis=0)

    def forward(self, params, x):
        active, _, m = self._frozen(x)
        s = params["scale"]["a"] * m
        y = x.copy()
        y[active] = x[active] * np.exp(s) + params["b"][0] * m
        return y, s.sum(axis=0)

    def inverse(self, params, y):
        active, _, m = self._frozen(y)
        s = params["scale"]["a"] * m
        x = y.copy()
        x[active] = (y[active] - params["b"][0] * m) * np.exp(-s)
        return x, -s.sum(axis=0)

    def vjp(self, params, x, y, y_bar, log_det_bar):
        active, hops, m = self._frozen(x)
        a, b = params["scale"]["a"], params["b"][0]
        grown = np.exp(a * m)
        out = y_bar[active]
        s_bar = out * x[active] * grown + log_det_bar
        m_bar = a * s_bar + b * out
        x_bar = y_bar.copy()
        x_bar[active] = out * grown
        for hop in hops:
            np.add.at(x_bar, hop, m_bar)
        a_bar, b_bar = np.sum(s_bar * m), np.sum(out * m)
        return {"scale": {"a": np.array([a_bar])}, "b": np.array([[b_bar]])}, x_bar


def _neighbour_affine():
    lattice = Lattice((2, 4))
    params = {"scale": {"a": np.array([0.2])}, "b": np.array([[-0.3]])}
    return NeighbourAffine(lattice), lattice, params, scalars(lattice, 3)


def shaken(flow, size=0.1):
    """Parameters away from the identity: every array of the initial ones moved by a wave."""
    return tree.map(lambda p: p + size * np.cos(1.0 + np.arange(p.size)).reshape(p.shape), flow.init(Rng(17)))


def _affine(shape, parity, bound=np.inf, fold=None):
    """A coupling whose network has two layers; 16 dimensions and lanes, so that rows share compiled kernels."""

    def factory():
        lattice = Lattice(shape, fold)
        net = nn.convolutional(lattice, (1, 3, 2), activation=nn.Tanh())
        flow = AffineCoupling(lattice, net, parity, bound)
        return flow, lattice, shaken(flow), scalars(lattice, 16)

    return factory


def _affine_chain():
    lattice = Lattice((4, 4))
    flow = affine_chain(lattice, 3, (4,), activation=nn.Silu(), bound=2.0, single_precision=False, pointwise=True)
    return flow, lattice, shaken(flow), scalars(lattice, 16)


def _pointwise():
    lattice = Lattice((4, 2), (2, 1))
    params = {"log_power": np.asarray(-0.4), "log_scale": np.asarray(0.3)}
    return SinhArcsinh(lattice), lattice, params, scalars(lattice, 2)


def _joint(shape, make):
    """A coupling of a scalar field and pseudofermions, at g = 0.9."""

    def factory():
        lattice = Lattice(shape)
        flow = make(lattice, Yukawa(lattice=lattice, coupling=0.9))
        x = np.stack([0.7 * scalars(lattice, 3), scalars(lattice, 3, 1)], axis=1)
        return flow, lattice, shaken(flow, 0.2), x

    return factory


def _scalar_coupling(parity):
    def make(lattice, operator):
        net = nn.convolutional(lattice, (3, 3, 2), activation=nn.Tanh())
        return ScalarCoupling(lattice, operator, net, parity)

    return make


def _pseudofermion_coupling(partition, side):
    def make(lattice, operator):
        net = nn.convolutional(lattice, (2, 3, 1 + len(HOPS[partition])), activation=nn.Tanh())
        return PseudofermionCoupling(lattice, operator, net, partition, side)

    return make


def _on_scalar(lattice, operator):
    return OnScalar(lattice, SinhArcsinh(lattice))


def _residual(n, shape, convolutions, planes="isotropic", learn=False, region=None):
    """A residual sweep at random coefficients, on links near and far from the identity."""

    def factory():
        lattice = Lattice(shape)
        flow = ResidualSweep(lattice, n, convolutions, planes, region=region, learn_convolutions=learn)
        delta = np.linspace(-0.03, 0.04, flow.shape[0] * flow.shape[1]).reshape(flow.shape)
        return flow, lattice, {**flow.init(), "delta": delta}, links(lattice, n, 8 // lattice.n_folds)

    return factory


def _smeared(n, shape, smearing, planes="isotropic", masks="auto", fold=None, size=1.0, region=None):
    """A smeared sweep, all fields of similar size."""

    def factory():
        lattice = Lattice(shape, fold)
        flow = SmearedSweep(lattice, n, smearing, planes, masks, region=region)
        delta = (
            size
            * np.array([[-0.03], [0.01], [0.04], [-0.05], [0.03]])[: flow.shape[0]]
            * np.linspace(1.0, 0.5, flow.shape[1])
        )
        return flow, lattice, {"delta": delta[: flow.shape[0]]}, links(lattice, n, 8 // lattice.n_folds)

    return factory


def _trivialising(n, shape, order, size, steps, fold=None):
    """A trivialising flow whose log det the integrator finds to 1e-7: small coefficients that hardly depend on time."""

    def factory():
        lattice = Lattice(shape, fold)
        flow = TrivialisingFlow(lattice, n, luescher_classes(len(shape), n, order), knots=3, steps=steps)
        rng = np.random.default_rng(n)
        c = size * rng.normal(size=(len(flow.classes), 1)) * (1.0 + 0.1 * rng.normal(size=flow.shape))
        return flow, lattice, {"c": c}, links(lattice, n, 8 // lattice.n_folds)

    return factory


def _chain():
    lattice = Lattice((2, 2))
    flow = Chain((ResidualSweep(lattice, 3), ResidualSweep(lattice, 3, (SMEARED,), reverse=True)))
    params = {"0": {"delta": np.array([[0.07]])}, "1": {"delta": np.array([[-0.05]])}}
    return flow, lattice, params, links(lattice, 3, 8)


def _loops(shape, circle, direction, cell=(1, 1), frozen=0, offset=(0, 0), fold=None, fields=links):
    """One coupling of loops with a convolutional network.

    Log-slopes of splines have kinks at knots, which differences must not meet: rows of many updates start near unity, far
    from the knots.
    """

    def factory():
        lattice = Lattice(shape, fold)
        blocks = [n // m for n, m in zip(shape, cell, strict=True)]
        blocks[1 - direction] //= 2 + frozen
        net = nn.convolutional(Lattice(blocks), (3 + 2 * frozen, 3, circle.channels), activation=nn.Tanh())
        flow = AngleFlow(lattice, LoopCoupling(lattice, net, circle, direction, cell, frozen, offset))
        return flow, lattice, shaken(flow, 0.3), twice(lattice, fields(lattice, 1, 2))

    return factory


def _loop_chain(shape, make):
    def factory():
        lattice = Lattice(shape)
        flow = make(lattice)
        return flow, lattice, shaken(flow, 0.2), ordered(lattice, 1, 2)

    return factory


def twice(lattice, x):
    """Every configuration two times where they do not fill a register, so that rows share compiled kernels."""
    return x if lattice.n_folds > 1 else np.concatenate([x, x], axis=-1)


def _spectral(n, shape, half, direction, cell=(1, 1), offset=(0, 0), fold=None, seed=0):
    """One coupling by eigenvalues; seeds keep coordinates away from knots, where log-slopes have kinks."""

    def factory():
        lattice = Lattice(shape, fold)
        flow = SpectralCoupling(lattice, half, direction, cell, offset)
        return flow, lattice, shaken(flow, 0.3), twice(lattice, links(lattice, n, 2, seed))

    return factory


def _spectral_chain():
    lattice = Lattice((2, 2))
    flow = spectral_chain(lattice, [HalfLoop(3, (1.0,), 2, (), (1, 0)), HalfLoop(3, (0.0,), 2, (), (0, 1, 0))])
    return flow, lattice, shaken(flow, 0.3), twice(lattice, links(lattice, 3, 2))


PLAIN, SMEARED, FROZEN_PLANES = Convolution(0), Convolution(2, 0.04, -0.7), Convolution(1, 0.2, 0.0, fill=False)
GAUGE_FLOWS = {
    "residual U(1)": _residual(1, (2, 4), (PLAIN,)),
    "residual SU(2)": _residual(2, (2, 2), (PLAIN, SMEARED)),
    "residual SU(3)": _residual(3, (2, 2), (PLAIN, SMEARED)),
    "residual SU(3), frozen planes": _residual(3, (2, 2), (FROZEN_PLANES,)),
    "residual SU(3), learned convolutions": _residual(3, (2, 2), (PLAIN, SMEARED, FROZEN_PLANES), learn=True),
    "residual SU(3) 4D": _residual(3, (2, 2, 2, 2), (PLAIN, Convolution(1, 0.03))),
    "residual U(1) 4D, anisotropic": _residual(1, (2, 2, 2, 2), (PLAIN, Convolution(1, 0.05)), "anisotropic"),
    "residual SU(2), region": _residual(2, (2, 4), (PLAIN, SMEARED), region=Box((1, 3), (1, 2))),
    "smeared U(1), region": _smeared(1, (4, 4), Smearing((0.0625,), 1, (1,)), region=Box((3, 1), (2, 3))),
    "smeared U(1), eight colours": _smeared(1, (8, 8), Smearing((0.0625,), 1, (1,)), masks="sum8"),
    "smeared U(1), four colours": _smeared(1, (4, 4), Smearing((0.0625, 0.1), 1, (1, 2))),
    "smeared U(1) 4D, anisotropic": _smeared(1, (2, 2, 2, 2), Smearing((0.0625,), 1, (1,)), "anisotropic", size=0.2),
    "smeared SU(2)": _smeared(2, (2, 2), Smearing((0.06, 0.08), 1, (0, 1))),
    "smeared SU(2), folded": _smeared(2, (2, 4), Smearing((0.1,), 1, (0,), 0.0), masks="parity", fold=(1, 2)),
    "smeared SU(3)": _smeared(3, (2, 2), Smearing((0.06, 0.08), 1, (0, 2))),
    "chain SU(3)": _chain,
    "trivialising U(1), folded": _trivialising(1, (4, 4), 1, 1e-3, 12, (2, 1)),
    "trivialising U(1) 3D": _trivialising(1, (3, 3, 3), 1, 5e-4, 8),
    "trivialising SU(2)": _trivialising(2, (3, 3), 1, 1e-3, 12),
    "trivialising SU(3)": _trivialising(3, (3, 3), 1, 1e-3, 12),
    "loops, half of the links": _loops((4, 4), CircularSpline(3), 0, fields=ordered),
    "loops, frozen plaquettes, folded": _loops(
        (8, 4), CircularSpline(3), 1, frozen=2, offset=(3, 1), fold=(2, 2), fields=ordered
    ),
    "loops, projections": _loops((4, 4), ProjectionMixture(2), 1, offset=(1, 0)),
    "loops of rectangles": _loops((8, 4), CircularSpline(2), 0, cell=(4, 1), offset=(2, 1)),
    "plaquette chain": _loop_chain(
        (4, 4), lambda x: plaquette_chain(x, 1, (2,), circle=ProjectionMixture(2), frozen=0, single_precision=False)
    ),
    "spectral SU(2)": _spectral(2, (2, 2), HalfLoop(2, (0.5, 0.0), 2, (3,)), 0),
    "spectral SU(2), rectangles, folded": _spectral(
        2, (4, 4), HalfLoop(2, (1.0, 0.5), 2, ()), 1, (2, 2), (1, 3), (2, 1)
    ),
    "spectral SU(3)": _spectral(3, (2, 2), HalfLoop(3, (0.5, 1.0), 2, (3,), (0, 1)), 1, (1, 1), (1, 0), seed=7),
    "spectral chain SU(3)": _spectral_chain,
    "block chain": _loop_chain((4, 4), lambda x: block_chain(x, circle=CircularSpline(3))),
}
SCALAR_FLOWS = {
    "neighbour affine": _neighbour_affine,
    "affine 1d": _affine((16,), 1),
    "affine 2d, bounded": _affine((4, 4), 0, 1.5),
    "affine 3d, folded": _affine((2, 4, 2), 1, fold=(1, 2, 1)),
    "affine chain": _affine_chain,
    "sinh-arcsinh": _pointwise,
    "scalar given pseudofermions, smallest": _joint((2, 2), _scalar_coupling(0)),
    "scalar given pseudofermions": _joint((4, 4), _scalar_coupling(1)),
    "pseudofermions, smallest": _joint((2, 2), _pseudofermion_coupling("time", 0)),
    "pseudofermions, time": _joint((4, 6), _pseudofermion_coupling("time", 1)),
    "pseudofermions, checkerboard": _joint((4, 4), _pseudofermion_coupling("checkerboard", 0)),
    "pseudofermions, double time": _joint((4, 8), _pseudofermion_coupling("double time", 1)),
    "scalar alone": _joint((2, 4), _on_scalar),
}
FLOWS = {**SCALAR_FLOWS, **GAUGE_FLOWS}
