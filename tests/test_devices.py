"""Crossings where there is no device: everything is handed through."""

import array_api_strict
import numpy as np

from gaugeflow import devices
from gaugeflow.backend import use_backend


def test_without_a_device_nothing_moves():
    tree = {"b": {"c": np.ones(2)}, "a": array_api_strict.asarray([1.0])}
    for chosen in ("reference", "numba"):
        with use_backend(chosen):
            assert devices.namespace() is np
            assert devices.device() == "cpu"
            assert devices.to_device(tree)["b"]["c"] is tree["b"]["c"]
            assert devices.to_host(tree)["a"] is tree["a"]
    assert devices.namespace() is np
    assert devices.to_host(tree["a"]) is tree["a"]
    assert devices.follow(tree["a"], tree["b"]["c"]) is tree["a"]
