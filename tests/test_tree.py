"""Nested dictionaries of arrays."""

import array_api_strict
import numpy as np
import pytest

from gaugeflow import tree


def _params(xp=np):
    return {"b": xp.asarray([1.0, 2.0]), "a": {"w": xp.asarray([[3.0]]), "empty": {}}}


@pytest.mark.parametrize("xp", [np, array_api_strict], ids=["numpy", "strict"])
def test_arithmetic(xp):
    x = _params(xp)
    assert float(tree.dot(x, x)) == 14.0
    total = tree.axpy(2.0, x, x)
    assert [float(v) for v in total["b"]] == [3.0, 6.0]
    assert float(total["a"]["w"][0, 0]) == 9.0
    assert total["a"]["empty"] == {}


def test_names_are_sorted():
    x = _params()
    flat = tree.flatten(x)
    assert list(flat) == ["a/w", "b"]
    assert list(tree.map(lambda v: v, x)) == ["a", "b"]
    assert tree.flatten(tree.unflatten(flat)).keys() == flat.keys()


def test_dot_accumulates_in_double_precision():
    x = {"w": np.full(10**4, 0.1, dtype=np.float32)}
    exact = 10**4 * float(np.float32(0.1)) ** 2
    assert abs(float(tree.dot(x, x)) - exact) < 1e-10 * exact


def test_errors():
    with pytest.raises(ValueError, match=r"expected keys \['a', 'b'\], got \['b'\]"):
        tree.axpy(1.0, _params(), {"b": np.zeros(2)})
    with pytest.raises(ValueError, match="got ndarray"):
        tree.dot({"a": {}}, {"a": np.zeros(1)})
    with pytest.raises(ValueError, match="no arrays"):
        tree.dot({}, {})
    with pytest.raises(ValueError, match="'a/b' lies below"):
        tree.unflatten({"a": np.zeros(1), "a/b": np.zeros(1)})
