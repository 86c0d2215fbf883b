"""Lattices that are cut over the processes of MPI: the same bits as in one process."""

from pathlib import Path

import pytest

from cases import ranks
from gaugeflow.domains import suggest_grid
from gaugeflow.lattice import Lattice

HERE = Path(__file__).parent
FOLDED = (
    "heatbath",
    "path_sum",
    "residual_solve",
    "residual_update",
    "smear_step",
    "staggered_hop",
    "wilson_force",
    "wilson_hop",
)


def on_ranks(processes, program, *arguments):
    """Run a program of this folder under mpirun."""
    return ranks.on_ranks(processes, HERE / program, *arguments, NUMBA_NUM_THREADS="1", OMP_NUM_THREADS="1")


def test_every_kernel_of_the_reference():
    on_ranks(2, "kernels_on_ranks.py", "2x1x1x1", "1x1x1x1", "reference")


def test_every_kernel_of_numba_on_four_processes():
    on_ranks(4, "kernels_on_ranks.py", "2x1x1x2", "1x1x1x1", "numba")


def test_exchanges_of_items_on_all_ways():
    on_ranks(3, "exchanges_on_ranks.py")


def test_work_side_by_side():
    on_ranks(4, "side_by_side_on_ranks.py")


def test_samplers_flows_and_checkpoints():
    checks = (
        "heat_bath",
        "hmc_wilson",
        "residual_flow",
        "residual_region",
        "smeared_forces",
        "gradient_flow",
        "checkpoints",
    )
    on_ranks(2, "sampling_on_ranks.py", "1x1x1x2", "1x1x1x1", "numba", *checks)


@pytest.mark.slow
def test_samplers_flows_and_observables_on_four_processes():
    on_ranks(4, "sampling_on_ranks.py", "2x1x1x2", "1x1x1x1", "numba")


def test_operators_and_trajectories_with_quarks():
    on_ranks(
        2, "operators_on_ranks.py", "2x1x1x1", "1x1x1x1", "numba", "applied", "trajectory", "messages", "along kappa"
    )


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("4", "2x1x1x2", "1x1x1x1"), ("2", "2x1x1x1", "2x1x2x1")])
def test_solvers_actions_and_correlators_of_quarks(arguments):
    on_ranks(int(arguments[0]), "operators_on_ranks.py", *arguments[1:], "numba")


def test_cuts_through_folded_directions():
    on_ranks(2, "kernels_on_ranks.py", "2x1x1x1", "2x1x2x1", "numba", *FOLDED)


def test_what_one_process_finds_out_is_known_to_all():
    on_ranks(2, "decisions_on_ranks.py")


@pytest.mark.parametrize(
    ("shape", "size", "grid"),
    [
        ((16, 8, 8, 8), 2, (2, 1, 1, 1)),
        ((16, 16, 16, 16), 16, (4, 4, 1, 1)),  # as small a surface as 2 x 2 x 2 x 2, and fewer neighbours
        ((12, 4, 4, 4), 3, (3, 1, 1, 1)),
        ((4, 4), 1, (1, 1)),
    ],
)
def test_grids_of_small_surface(shape, size, grid):
    assert suggest_grid(shape, size) == grid


def test_what_cannot_be_cut():
    class Grid:
        grid, place = (3, 1), (0, 0)

    with pytest.raises(ValueError, match=r"3 processes cannot share direction 0 of extent 8 .* work: \[1, 2, 4\]"):
        Lattice((8, 8), None, Grid())
    with pytest.raises(ValueError, match=r"the grid of processes needs 3 entries like shape \(6, 4, 4\), got \(3, 1\)"):
        Lattice((6, 4, 4), None, Grid())
    with pytest.raises(ValueError, match=r"7 processes cannot share .* number below that works: 4"):
        suggest_grid((8, 8), 7)
    lattice = Lattice((6, 4), None, Grid())
    assert (lattice.volume, lattice.n_slots, lattice.local_shape) == (24, 8, (2, 4))
    with pytest.raises(ValueError, match=r"table of neighbours: needs a whole lattice .* grid \(3, 1\)"):
        _ = lattice.slot_neighbour
