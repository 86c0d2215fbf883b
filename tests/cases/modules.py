"""Every module of networks by name: a factory of (module, lattice).  A row puts the module through its whole contract."""

from gaugeflow import nn
from gaugeflow.lattice import Lattice

_INPUTS = 3
"""Channels of the features that rows are called with."""


def _module(shape, make, fold=None):
    def factory():
        lattice = Lattice(shape, fold)
        return make(lattice), lattice

    return factory


# These respect translations, one by one and folded or not.
EQUIVARIANT_MODULES = {
    "convolution 1d": _module((5,), lambda lattice: nn.Convolution(lattice, _INPUTS, 2, kernel=5)),
    "convolution 2d": _module((4, 6), lambda lattice: nn.Convolution(lattice, _INPUTS, 2)),
    "convolution wider than the lattice": _module((2, 3), lambda lattice: nn.Convolution(lattice, _INPUTS, 4)),
    "convolution of two extents, no bias": _module(
        (3, 8), lambda lattice: nn.Convolution(lattice, _INPUTS, 1, kernel=(1, 5), bias=False)
    ),
    "convolution dilated, folded": _module(
        (8, 4), lambda lattice: nn.Convolution(lattice, _INPUTS, 9, dilation=2), (2, 2)
    ),
    "convolution 4d, folded": _module((2, 4, 2, 2), lambda lattice: nn.Convolution(lattice, _INPUTS, 2), (1, 2, 1, 1)),
    "channel mixing": _module((4, 3), lambda lattice: nn.ChannelMixing(lattice, _INPUTS, 5)),
    "channel mixing, folded, no bias": _module(
        (4, 4), lambda lattice: nn.ChannelMixing(lattice, _INPUTS, 2, bias=False), (2, 1)
    ),
    "tanh": _module((2, 2), lambda lattice: nn.Tanh()),
    "leaky relu": _module((2, 3), lambda lattice: nn.LeakyRelu(0.2)),
    "silu": _module((2, 2), lambda lattice: nn.Silu()),
    "network": _module(
        (4, 4),
        lambda lattice: nn.convolutional(
            lattice, (_INPUTS, 4, 2), dilations=(1, 2), activation=nn.Tanh(), last=nn.Silu(), final_gain=1.0
        ),
    ),
    "residual network": _module(
        (4, 4),
        lambda lattice: nn.Residual(nn.Sequential((nn.Tanh(), nn.Residual(nn.Convolution(lattice, _INPUTS, _INPUTS))))),
    ),
}
MODULES = {
    **EQUIVARIANT_MODULES,
    "dense": _module((2, 3), lambda lattice: nn.Dense(lattice, _INPUTS, 2)),
    "dense, folded, no bias": _module((4, 2), lambda lattice: nn.Dense(lattice, _INPUTS, 1, bias=False), (2, 1)),
}


def features(lattice, batch, rng, channels=_INPUTS):
    """Features away from the kink of rectifiers, ``(channels, n_blocks, lanes)``."""
    x = rng.standard_normal((batch, channels, *lattice.shape))
    return lattice.pack(x + 0.2 * (x > 0) - 0.2 * (x < 0), components=1)
