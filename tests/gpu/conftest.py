"""Tests of the GPU back end.

Those in ``simulated`` and ``compiled`` need no GPU but an interpreter of their own, in which :mod:`standin.cupy` takes the
place of CuPy: ``test_without_gpu.py`` starts one for each.
"""

import os

collect_ignore = [] if os.environ.get("GAUGEFLOW_STANDIN") else ["simulated", "compiled"]
