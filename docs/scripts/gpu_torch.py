"""A sweep of residual layers beside the same one in PyTorch, and log-determinants of dense matrices, on one device.

    python docs/scripts/gpu_torch.py --lattice 16x16x16x16 --batch 4 --device cuda

The PyTorch version does what one would write there: batched matrix products, Jacobians of 8 x 8 from the derivative of
the exponential, ``torch.linalg.slogdet``, and automatic differentiation.  Both must agree before they are timed.  With
``--device cpu`` gaugeflow runs on Numba and PyTorch on its own threads.  PyTorch is needed by this script alone.
"""

import argparse
import statistics
import time

import numpy as np
import torch

from gaugeflow import bench
from gaugeflow.backend import use_backend
from gaugeflow.devices import to_host
from gaugeflow.flows.gauge.residual import ResidualSweep
from gaugeflow.lattice import Lattice

ORDER = 14
"""Terms of the series of the derivative of the exponential."""


# ---- the sweep in PyTorch ----------------------------------------------------------------------------------------------
def gell_mann():
    """Anti-Hermitian generators with tr(T_a T_b) = -delta_ab / 2."""
    t = np.zeros((8, 3, 3), dtype=complex)
    for a, (i, j) in enumerate(((0, 1), (0, 2), (1, 2))):
        t[2 * a, i, j] = t[2 * a, j, i] = 1.0
        t[2 * a + 1, i, j], t[2 * a + 1, j, i] = -1j, 1j
    t[6] = np.diag([1.0, -1.0, 0.0])
    t[7] = np.diag([1.0, 1.0, -2.0]) / np.sqrt(3.0)
    return -0.5j * t


class TorchSweep:
    """The map of ``ResidualSweep`` for SU(3) with plain links; links are ``(batch, direction, site, 3, 3)``."""

    def __init__(self, lattice, device):
        t = torch.as_tensor(gell_mann(), device=device)
        self.lattice, self.generators = lattice, t
        # coordinates of a matrix, of T_a M for every a, and of commutators, as one product with its nine entries each
        self.coordinates = -2.0 * t.transpose(1, 2).reshape(8, 9).T
        self.left = -2.0 * torch.einsum("bij,ajk->baki", t, t).reshape(64, 9).T
        commutators = torch.einsum("aij,bjk->abik", t, t) - torch.einsum("bij,ajk->abik", t, t)
        self.structure = (-2.0 * torch.einsum("cij,abji->acb", t, commutators)).real.reshape(8, 64)
        table = torch.as_tensor(np.asarray(lattice.neighbour, dtype=np.int64), device=device)
        self.hop = [[table[nu, k] for k in (0, 1)] for nu in range(lattice.ndim)]
        self.one = torch.eye(8, dtype=torch.float64, device=device)
        masks = [(mu, lattice.active_sites(mu, parity)) for mu in range(lattice.ndim) for parity in (0, 1)]
        self.masks = [(mu, torch.as_tensor(np.asarray(s, dtype=np.int64), device=device)) for mu, s in masks]

    def staples(self, u, mu, sites):
        total = 0.0
        ahead = self.hop[mu][0][sites]
        for nu in range(self.lattice.ndim):
            if nu != mu:
                up, down = self.hop[nu][0][sites], self.hop[nu][1][sites]
                total = total + u[nu][:, sites] @ u[mu][:, up] @ u[nu][:, ahead].mH
                total = total + u[nu][:, down].mH @ u[mu][:, down] @ u[nu][:, self.hop[nu][1][ahead]]
        return total

    def __call__(self, links, delta):
        u, log_det = list(links.unbind(1)), 0.0
        for mu, sites in self.masks:
            old = u[mu][:, sites]
            loops = old @ (delta * self.staples(u, mu, sites)).mH
            flat = loops.flatten(-2)
            force = (flat @ self.coordinates).real
            moved = (flat @ self.left).real.unflatten(-1, (8, 8))  # column a: coordinates of P(T_a W)
            adjoint = (force @ self.structure).unflatten(-1, (8, 8))
            slope = self.one
            for k in range(ORDER, 1, -1):  # sum of adjoint^k / (k + 1)!, by Horner's rule
                slope = self.one + adjoint @ slope / k
            jacobian = self.one + adjoint @ slope + slope @ moved
            log_det = log_det + torch.linalg.slogdet(jacobian).logabsdet.sum(-1)
            step = torch.matrix_exp(torch.einsum("...a,aij->...ij", force.to(links.dtype), self.generators))
            u[mu] = u[mu].index_copy(1, sites, step @ old)
        return torch.stack(u, 1), log_det


# ---- both, timed -------------------------------------------------------------------------------------------------------
def median_time(call, wait, repeats):
    """Median of some calls in seconds, after one that is not counted."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def sweep(shape, batch, device, repeats):
    """Log-determinants and their derivative of a sweep, by both."""
    backend = "cupy" if device == "cuda" else "numba"
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    plain, delta = Lattice(shape), 0.04
    with use_backend(backend):
        lattice = Lattice(shape, plain.suggest_fold(device, batch))
        links = bench.fields(lattice, 3, batch)[0]
        start = lattice.unpack(to_host(links), 1)  # (batch, direction, *shape, 3, 3)
        flow = ResidualSweep(lattice, 3)
        params = {"delta": np.full(flow.shape, delta)}
        nought = links * 0.0

        def ours(backwards):
            y, log_det = flow.forward(params, links)
            return (flow.vjp(params, links, y, nought, log_det * 0.0 + 1.0)[0]["delta"] if backwards else None), log_det

        gradient, log_det = (to_host(v) for v in ours(True))
        seconds = [median_time(lambda: ours(False), wait, repeats), median_time(lambda: ours(True), wait, repeats)]

    theirs = TorchSweep(plain, device)
    tensor = torch.as_tensor(start.reshape(batch, plain.ndim, -1, 3, 3), device=device)
    coefficient = torch.tensor(delta, dtype=torch.float64, device=device)

    def torch_forward():
        with torch.no_grad():
            return theirs(tensor, coefficient)[1]

    def torch_both():
        x, d = tensor.detach().requires_grad_(), coefficient.detach().requires_grad_()
        return torch.autograd.grad(theirs(x, d)[1].sum(), (d, x))[0]

    difference = abs(torch_forward().cpu().numpy() - log_det).max() / plain.volume
    slope = abs(torch_both().item() / gradient.sum() - 1.0)
    print(f"log-determinants differ by {difference:.1e} a site, derivatives by a factor 1 + {slope:.1e}")
    if not (difference < 1e-12 and slope < 1e-10):
        raise SystemExit("the two sweeps are not the same map")
    other = [median_time(torch_forward, wait, repeats), median_time(torch_both, wait, repeats)]
    per_link = 1e9 / (plain.volume * plain.ndim * batch)
    for name, a, b in zip(("forward", "forward and derivative"), seconds, other, strict=True):
        print(f"{name}: gaugeflow {a * per_link:.2f}, PyTorch {b * per_link:.2f} ns a link; ratio {b / a:.1f}")


def determinants(device, sizes, entries, repeats):
    """Log-determinants of as many complex matrices of each size as have this many entries together."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    rng = np.random.default_rng(1)
    for n in sizes:
        count = max(1, entries // n**2)
        host = rng.normal(size=(count, n, n)) + 1j * rng.normal(size=(count, n, n)) + 3.0 * np.sqrt(n) * np.eye(n)
        start = time.perf_counter()
        expected = np.linalg.slogdet(host)[1]
        numpy_seconds = time.perf_counter() - start
        flop = count * 8.0 / 3.0 * n**3
        line = f"{count} matrices of {n}: NumPy {flop / numpy_seconds / 1e9:.0f} GF/s"
        libraries = [("PyTorch", torch.linalg.slogdet, torch.as_tensor(host, device=device))]
        if device == "cuda":
            import cupy

            libraries.insert(0, ("CuPy", cupy.linalg.slogdet, cupy.asarray(host)))
        for name, slogdet, matrices in libraries:
            found = slogdet(matrices)[1]
            worst = abs((found.get() if name == "CuPy" else found.cpu().numpy()) - expected).max()
            seconds = median_time(lambda f=slogdet, a=matrices: f(a), wait, repeats)
            line += f", {name} {flop / seconds / 1e9:.0f} GF/s (off by {worst:.0e})"
        print(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lattice", default="16x16x16x16", help="extents (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=4, help="configurations (default: %(default)s)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="where (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls (default: %(default)s)")
    parser.add_argument("--sizes", type=int, nargs="*", default=[64, 256, 1024, 4096], help="of dense matrices")
    parser.add_argument("--entries", type=int, default=2**24, help="of all matrices of a size (default: %(default)s)")
    given = parser.parse_args()
    sweep(tuple(int(extent) for extent in given.lattice.split("x")), given.batch, given.device, given.repeats)
    determinants(given.device, given.sizes, given.entries, given.repeats)


if __name__ == "__main__":
    main()
