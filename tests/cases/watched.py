"""Runs a program so that SIGUSR1 makes it print where it is: the program and its arguments follow."""

import faulthandler
import runpy
import signal
import sys
from pathlib import Path

faulthandler.register(signal.SIGUSR1, all_threads=True)
del sys.argv[0]
sys.path[0] = str(Path(sys.argv[0]).parent)
runpy.run_path(sys.argv[0], run_name="__main__")
