"""Makes every site function of gaugeflow callable from kernels."""

import math

from gaugeflow.sites import (
    adjoint,
    clover,
    digits,
    elementary,
    exponential,
    gauge,
    heatbath,
    jacobian,
    matrix,
    random,
    residual,
    series,
    smeared,
    smearing,
    unitary,
)
from gaugeflow_cupy._jit import SIMULATED, compiled, teach

if not SIMULATED:
    from gaugeflow_cupy import numbers as _numbers  # noqa: F401  (their overloads of the element functions)

_NOT_TAUGHT = {"unrolled", "generated", "generators", "size", "memory_size", "narrow", "to_real"}

# Long formulas that kernels call more than once: functions of their own rather than inlined.
_CALLED = {
    "fill_loops",
    "fill_reduced",
    "inverse_jacobian",
    "inverse_transposed",
    "loops_vjp",
    "reduced_inverse",
    "reduced_vjp",
    "su2_cosine",
    "symmetrise",
    "u1_angle",
    "update_vjp",
}


def _functions(module):
    for name, value in vars(module).items():
        ours = callable(value) and getattr(value, "__module__", None) == module.__name__
        if ours and not (name.startswith("_") or name.endswith("_of_size") or name in _NOT_TAUGHT):
            yield value


@compiled(matrix.size)
def _(matrix):
    n = math.isqrt(matrix.count)
    return lambda matrix: n


for _module in (
    matrix,
    elementary,
    exponential,
    gauge,
    clover,
    digits,
    unitary,
    adjoint,
    jacobian,
    residual,
    series,
    smeared,
    smearing,
    random,
    heatbath,
):
    for _function in _functions(_module):
        called = getattr(_function, "large", False) or _function.__name__ in _CALLED
        teach(_function, inline=not called)
