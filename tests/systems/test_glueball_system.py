"""The glueball run: its numbers agree with each other, and a run that was broken off gives the same ones."""

import json

import numpy as np
import pytest

from gaugeflow.systems import glueball
from gaugeflow.systems.glueball import Settings

SETTINGS = Settings(
    shape=(6, 2, 2, 2),
    fold=(1, 1, 1, 1),
    beta=5.0,
    chains=8,
    training=8,
    rows=10,
    burn_in=20,
    thin=3,
    eta=(0.06,),
    levels=(0, 1),
    operators=(0, 1),
    improved=(0,),
    tensor=(0,),
    contact_every=2,
)


def test_demonstration(tmp_path, monkeypatch):
    """Correlators by all estimators agree within 4 sigma on 6 x 2^3 at beta = 5, where supports meet at every time."""
    report = glueball.run(out=tmp_path / "whole", seed=3, settings=SETTINGS)
    (result,) = report.json
    json.dumps(result)
    assert [picture.exists() for picture in report.figures] == [True]
    assert list(result["operators"]) == ["scalar, 0", "scalar, 1", "tensor, 0"]
    for name in ("scalar, 0", "tensor, 0"):
        plaquette = result["operators"][name]
        assert plaquette["residual_share"]["value"] < 0.5
        kinds = plaquette["correlators"]
        for kind in ("one-sided", "two-sided"):
            for found, plain in zip(kinds[kind], kinds["plain"], strict=True):
                assert abs(found["value"] - plain["value"]) < 4.0 * np.hypot(found["error"], plain["error"])
        assert kinds["two-sided"][3]["error"] < 0.6 * kinds["plain"][3]["error"]
        assert abs(plaquette["contact"]["two-sided"][0]["value"]) > 10.0 * plaquette["contact"]["two-sided"][0]["error"]

    complete = glueball._Chain._contact

    def breaks(chain, *arguments):
        if chain.count > 12:
            raise KeyboardInterrupt
        return complete(chain, *arguments)

    monkeypatch.setattr(glueball._Chain, "_contact", breaks)
    with pytest.raises(KeyboardInterrupt):
        glueball.run(out=tmp_path / "broken", seed=3, settings=SETTINGS)
    monkeypatch.setattr(glueball._Chain, "_contact", complete)
    (again,) = glueball.run(out=tmp_path / "broken", seed=3, settings=SETTINGS).json
    assert again["operators"] == result["operators"]
    assert [path.name for path in (tmp_path / "broken").iterdir() if path.is_dir()] == []
