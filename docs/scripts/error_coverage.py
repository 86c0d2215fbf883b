"""How often the truth is within one error: several short chains, and chains with gaps.

    python docs/scripts/error_coverage.py

Chains are autoregressive, rho(t) = a^t, with mean zero.  *All* is this package's convention, fluctuations around the mean of
all chains; *each* is that of pyerrors, around the mean of each chain, to which gamma_method comes down once chain means are
subtracted (tests/analysis/test_analysis_pyerrors.py).  Expected is 0.68.
"""

from __future__ import annotations

import argparse

import numpy as np

from gaugeflow.analysis import Series, gamma_method, jackknife


def chains(rng: np.random.Generator, shape: tuple[int, ...], tau_int: float) -> np.ndarray:
    """Stationary AR(1) chains of variance one, Markov time last."""
    a = (2 * tau_int - 1) / (2 * tau_int + 1)
    x = rng.normal(size=shape)
    x[..., 1:] *= np.sqrt(1 - a * a)
    for t in range(1, shape[-1]):
        x[..., t] += a * x[..., t - 1]
    return x


def replica(rng: np.random.Generator, lengths: list[int], tau_int: float, repeat: int) -> None:
    """Coverage of both conventions, and how much their errors differ."""
    data = chains(rng, (repeat, len(lengths), max(lengths)), tau_int)
    mean, every, each = [], [], []
    for one in data:
        parts = [x[:n] for x, n in zip(one, lengths, strict=True)]
        estimate = gamma_method(parts)
        mean.append(estimate.value)
        every.append(estimate.error)
        each.append(gamma_method([x - x.mean() for x in parts]).error)
    mean, every, each = map(np.array, (mean, every, each))
    spread = np.std(mean)
    shape = f"{len(lengths)} x {lengths[0]}" if len(set(lengths)) == 1 else " + ".join(map(str, lengths))
    print(
        f"| {shape} | {tau_int:g} | {np.mean(abs(mean) < every):.2f} | {np.mean(abs(mean) < each):.2f} "
        f"| {np.sqrt(np.mean(every**2)) / spread:.2f} | {np.sqrt(np.mean(each**2)) / spread:.2f} "
        f"| {100 * np.median(abs(every / each - 1)):.1f} % |"
    )


def gaps(rng: np.random.Generator, name: str, ids: np.ndarray, n: int, tau_int: float, repeat: int) -> None:
    """Errors in units of the true one, with numbers, and of bins of ten autocorrelation times."""
    a = (2 * tau_int - 1) / (2 * tau_int + 1)
    true = np.sqrt(np.sum(a ** np.abs(ids[:, None] - ids))) / len(ids)
    errors, bins = [], []
    for x in chains(rng, (repeat, n), tau_int)[:, ids]:
        series = Series.from_chains([x], [ids])
        errors.append(gamma_method(series).error)
        bins.append(jackknife(series, int(10 * tau_int * len(ids) / n)).error)
    shown = (np.sqrt(np.mean(np.square(e))) / true for e in (errors, bins))
    print(f"| {name} | {n} | {tau_int:g} | " + " | ".join(f"{x:.2f}" for x in shown) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=2000, help="independent sets of chains")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    print("| chains | tau_int | within, all | within, each | error / true, all | each | errors differ by |")
    print("|---|---|---|---|---|---|---|")
    replica(rng, [60] * 8, 5.0, given.repeat)
    replica(rng, [200] * 8, 5.0, given.repeat)
    replica(rng, [1000] * 4, 5.0, given.repeat // 4)
    replica(rng, [1000, 1500, 3000], 5.0, given.repeat // 4)
    replica(rng, [200, 400, 1500], 5.0, given.repeat // 4)
    print("\n| missing | length | tau_int | error / true | jackknife / true |\n|---|---|---|---|---|")
    n, tau_int, repeat = 2000, 10.0, given.repeat // 8
    every = np.arange(n)
    gaps(rng, "nothing", every, n, tau_int, repeat)
    gaps(rng, "10 % at random", every[rng.random(n) < 0.9], n, tau_int, repeat)
    gaps(rng, "30 % at random", every[rng.random(n) < 0.7], n, tau_int, repeat)
    gaps(rng, "600 in a row", every[(every < 700) | (every >= 1300)], n, tau_int, repeat)


if __name__ == "__main__":
    main()
