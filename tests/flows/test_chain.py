"""Chains offer the score where all their flows do."""

from __future__ import annotations

import numpy as np
import pytest

from gaugeflow.check import check_flow
from gaugeflow.flows import Chain, SinhArcsinh
from gaugeflow.lattice import Lattice

LATTICE = Lattice((2, 2))


class WithoutScore:
    """A flow that offers no score, made of one that does."""

    def __init__(self, flow):
        self.init, self.forward, self.inverse, self.vjp = flow.init, flow.forward, flow.inverse, flow.vjp


def test_score():
    rng = np.random.default_rng(1)
    flow = SinhArcsinh(LATTICE)
    params = {name: value + 0.1 for name, value in flow.init().items()}
    x = rng.standard_normal((4, 9))
    for second, offered in ((flow, True), (WithoutScore(flow), False)):
        chain = Chain((flow, second))
        assert hasattr(chain, "push_score") is offered
        report = check_flow(chain, LATTICE, {"0": params, "1": params}, x, rng)
        assert ("score" in report) is offered
    with pytest.raises(AttributeError, match="WithoutScore offers no push_score"):
        _ = chain.push_score
