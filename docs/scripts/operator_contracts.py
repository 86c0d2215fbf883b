"""Largest errors of the contract of Dirac operators over the rows of tests/cases/operators.py.

python docs/scripts/operator_contracts.py [--rows PART_OF_NAME]
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from cases.operators import OPERATORS
from gaugeflow import check
from gaugeflow.backend import use_backend


def main():
    """Print the median and the largest error of every check, and the row that has it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="", help="only rows whose names contain this")
    chosen = {name: row for name, row in OPERATORS.items() if parser.parse_args().rows in name}
    found = {}
    for name, row in chosen.items():
        with use_backend("reference"):
            operator = row.operator()
            partner = None if row.partner is None else row.partner(operator)
            errors = check.check_operator(operator, np.random.default_rng(20240229), partner=partner)
        for key, error in errors.items():
            found.setdefault(key, []).append((error, name))
    print(f"{'check':24} {'rows':>4} {'median':>9} {'largest':>9}")
    for key, pairs in found.items():
        largest, name = max(pairs)
        print(f"{key:24} {len(pairs):4d} {np.median([error for error, _ in pairs]):9.1e} {largest:9.1e}  {name}")


if __name__ == "__main__":
    main()
