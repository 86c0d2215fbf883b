"""Networks on features ``(C, n_blocks, lanes)``, equivariant to translations of the lattice, with gradients by hand.

A module is a frozen dataclass with ``init(rng)``, ``forward(params, x)`` and ``vjp(params, x, y, y_bar)``, the protocol
:class:`gaugeflow.typing.Module`.  Parameters are nested dicts of arrays; numbers have the precision of the features.

>>> from gaugeflow import nn
>>> from gaugeflow.lattice import Lattice
>>> from gaugeflow.random import Rng, normal
>>> lattice = Lattice((8, 8))
>>> net = nn.convolutional(lattice, (1, 8, 8, 2), kernel=3, activation=nn.LeakyRelu())
>>> params = net.init(Rng(1))
>>> x = normal(Rng(2), lattice, batch=16)  # (1, n_blocks, lanes)
>>> y, pull_back = nn.forward_and_pull_back(net, params, x)
>>> params_bar, x_bar = pull_back(y)  # the gradient of the sum of y^2 / 2
>>> y.shape, x_bar.shape
((2, 64, 16), (1, 64, 16))

:func:`forward_and_pull_back` evaluates once and keeps what the cotangents need; ``vjp`` alone evaluates again.
"""

from gaugeflow.nn.activation import Activation, LeakyRelu, Silu, Tanh
from gaugeflow.nn.compose import Residual, Sequential, SinglePrecision, convolutional
from gaugeflow.nn.linear import ChannelMixing, Convolution, Dense
from gaugeflow.nn.pull_back import PullBack, forward_and_pull_back

__all__ = [
    "Activation",
    "ChannelMixing",
    "Convolution",
    "Dense",
    "LeakyRelu",
    "PullBack",
    "Residual",
    "Sequential",
    "Silu",
    "SinglePrecision",
    "Tanh",
    "convolutional",
    "forward_and_pull_back",
]
