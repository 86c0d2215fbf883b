"""Makes every site function of gaugeflow callable from kernels."""

import math

from numba.extending import overload

from gaugeflow.sites import (
    adjoint,
    clover,
    digits,
    exponential,
    gauge,
    jacobian,
    loops,
    matrix,
    residual,
    series,
    smeared,
    smearing,
    unitary,
)
from gaugeflow_numba import lanes  # noqa: F401  (its overloads of the element functions, and their arithmetic)
from gaugeflow_numba._jit import teach

_NOT_SITE_FUNCTIONS = {"unrolled", "generated", "generators", "size", "memory_size"}

# Long formulas that several kernels use: called rather than inlined, which saves most of their compilation.
_CALLED = {
    "even",
    "exp_bar",
    "fill_loops",
    "fill_reduced",
    "generator",
    "inverse_jacobian",
    "inverse_transposed",
    "jacobian_determinant",
    "loops_determinant",
    "loops_score",
    "loops_vjp",
    "reduced_inverse",
    "reduced_vjp",
    "symmetrise",
    "update_vjp",
}


def _functions(module):
    for name, value in vars(module).items():
        ours = callable(value) and getattr(value, "__module__", None) == module.__name__
        if ours and not (name.startswith("_") or name.endswith("_of_size") or name in _NOT_SITE_FUNCTIONS):
            yield value


@overload(matrix.size, jit_options={"forceinline": True})
def _(matrix):
    n = math.isqrt(matrix.count)
    return lambda matrix: n


for _module in (
    matrix,
    exponential,
    gauge,
    clover,
    digits,
    unitary,
    adjoint,
    series,
    jacobian,
    residual,
    smeared,
    smearing,
    loops,
):
    for _function in _functions(_module):
        called = getattr(_function, "large", False) or _function.__name__ in _CALLED
        teach(_function, inlined=not called)
