"""The first example of the page on quarks runs as it stands there."""

import re
from pathlib import Path

import numpy as np

PAGE = Path(__file__).resolve().parents[2] / "docs" / "fermions.md"


def test_first_propagator(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line and not line.startswith("from")]) <= 10
    exec(compile(code, str(PAGE), "exec"), {})
    pion = np.array([float(x) for x in re.findall(r"[-+\d.e]+", capsys.readouterr().out)])
    assert pion.shape == (8,)
    assert np.all(pion > 0.0)
    assert np.all(np.diff(pion[:5]) < 0.0)
    np.testing.assert_allclose(pion[1:4], pion[:4:-1], rtol=0.5)  # the two directions of time, eight configurations
