"""Which links of a smeared sweep move together."""

import numpy as np
import pytest

from gaugeflow.flows import SmearedSweep
from gaugeflow.lattice import Lattice

LAYERS = {"parity": 8, "sum4": 8, "sum8": 32}


@pytest.mark.parametrize("masks", LAYERS)
def test_links_move_once_and_no_plaquette_holds_two_of_a_layer(masks):
    lattice = Lattice((8, 8, 8, 8))
    layers = SmearedSweep(lattice, masks=masks).layers()
    assert len(layers) == LAYERS[masks]
    moved = np.zeros((4, *lattice.shape), dtype=int)
    for layer in layers:
        active = np.zeros_like(moved)
        for mu, sites in layer:
            active.reshape(4, -1)[mu, sites] += 1
        moved += active
        for mu, nu in lattice.planes:
            around = active[mu] + active[nu] + np.roll(active[nu], -1, mu) + np.roll(active[mu], -1, nu)
            assert around.max() <= 1
    assert (moved == 1).all()


def test_links_of_sum8_are_further_apart():
    """The nearest links of a layer, in hops between their sites: 2 for sum4 and sum8, but fewer of them."""

    def neighbours(masks):
        lattice = Lattice((8, 8, 8, 8))
        sets = [(mu, set(sites.tolist())) for mu, sites in SmearedSweep(lattice, masks=masks).layers()[0]]
        steps = [lattice.neighbour[mu, sign] for mu in range(4) for sign in (0, 1)]
        site = next(iter(sets[0][1]))
        around = {int(b[int(a[site])]) for a in steps for b in steps} - {site}
        return sum(len(around & links) for _, links in sets)

    assert neighbours("sum8") < neighbours("sum4") / 3


def test_extents_that_do_not_carry_the_masks():
    with pytest.raises(
        ValueError, match="a colouring modulo 8 needs an extent that 8 divides: direction 1 has extent 12"
    ):
        SmearedSweep(Lattice((8, 12, 8, 8)), masks="sum8")
    with pytest.raises(ValueError, match=r"masks: expected one of .*'sum8'.*, got 'odd'"):
        SmearedSweep(Lattice((4, 4)), masks="odd")
