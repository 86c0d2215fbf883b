"""One lattice on one and on two processes of one thread each: the share of the second core that is put to use."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "scripts" / "scaling.py"
WORKS = ["plaquette", "force", "heat bath", "flow", "hop, even-odd", "CG, 20 iterations"]


def measured(processes):
    """What the script says of 16^4 on some processes."""
    command = ["mpirun", "--oversubscribe", "-n", str(processes), sys.executable, str(SCRIPT), "measure", "16x16x16x16"]
    if os.geteuid() == 0:
        command.insert(1, "--allow-run-as-root")
    environment = {**os.environ, "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


class Processes:
    params = WORKS
    param_names = ("work",)
    timeout = 600

    def setup_cache(self):
        if shutil.which("mpirun") is None:
            return None
        return [measured(n)["rows"] for n in (1, 2)]

    def track_efficiency(self, found, work):
        """Time of one process over twice that of two."""
        if found is None:
            return float("nan")
        one, two = (rows[work]["fastest"] for rows in found)
        return one / (2.0 * two)

    track_efficiency.unit = "share"

    def track_bytes(self, found, work):
        """Bytes that a process sends."""
        return float("nan") if found is None else found[1][work]["bytes"]

    track_bytes.unit = "bytes"
