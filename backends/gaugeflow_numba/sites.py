"""Makes every site function of gaugeflow callable from kernels."""

from gaugeflow.sites import clover, exponential, gauge, matrix, unitary

from gaugeflow_numba import lanes, simd  # noqa: F401  (their overloads of the element functions)
from gaugeflow_numba._jit import teach


def _functions(module):
    for name, value in vars(module).items():
        if callable(value) and getattr(value, "__module__", None) == module.__name__ and not name.startswith("_"):
            yield value


for _module in (matrix, exponential, gauge, clover, unitary):
    for _function in _functions(_module):
        if _function not in (matrix.unrolled, matrix.size, exponential.exp_of_size, unitary.reunitarise_of_size):
            teach(_function)
