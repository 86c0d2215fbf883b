"""The static-potential run: both ways of measuring loops agree, and a run that was broken off gives the same numbers."""

import json

import numpy as np
import pytest

from gaugeflow.systems import static_potential
from gaugeflow.systems.static_potential import Settings

SETTINGS = Settings(
    shape=(4, 6, 6, 6),
    fold=(1, 1, 1, 1),
    beta=5.6,
    chains=8,
    rows=6,
    burn_in=20,
    thin=2,
    overrelax=1,
    updates=3,
    r_max=3,
    t_max=4,
    stout_steps=2,
    fitted=(1, 2, 3),
)


def test_demonstration(tmp_path, monkeypatch):
    """Loops by slabs and plain ones agree within 4.5 sigma, and those by slabs are better."""
    report = static_potential.run(out=tmp_path / "whole", seed=3, settings=SETTINGS)
    (result,) = report.json
    json.dumps(result)
    assert [picture.exists() for picture in report.figures] == [True]
    for row in result["loops"]:
        errors = [row[kind]["error"] for kind in ("plain", "slabs")]
        assert abs(row["plain"]["value"] - row["slabs"]["value"]) < 4.5 * np.hypot(*errors), row
    (large,) = [row for row in result["loops"] if (row["r"], row["t"]) == (3, 2)]
    assert large["gain"] > 1.5
    first = [point["value"] for point in result["potential"]["slabs"][0]]
    assert first[0] < first[1] < first[2]

    complete = static_potential._Chain._slabs

    def breaks(chain, x, row):
        if row > 3:
            raise KeyboardInterrupt
        return complete(chain, x, row)

    monkeypatch.setattr(static_potential._Chain, "_slabs", breaks)
    with pytest.raises(KeyboardInterrupt):
        static_potential.run(out=tmp_path / "broken", seed=3, settings=SETTINGS)
    monkeypatch.setattr(static_potential._Chain, "_slabs", complete)
    (again,) = static_potential.run(out=tmp_path / "broken", seed=3, settings=SETTINGS).json
    for row, before in zip(again["loops"], result["loops"], strict=True):  # the rest of a row is time
        assert (row["plain"], row["slabs"]) == (before["plain"], before["slabs"])
    assert again["fit"] == result["fit"]
    assert [path.name for path in (tmp_path / "broken").iterdir() if path.is_dir()] == []
