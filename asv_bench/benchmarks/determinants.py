"""Exact determinants of Wilson fermions, SU(3) on 4^4, eight configurations: value, by both methods, and gradient."""

from gaugeflow import determinants
from gaugeflow.lattice import Lattice
from gaugeflow.operators import Wilson
from gaugeflow.random import Rng, haar_links


class Determinant:
    params = (["dense", "slices", "gradient"],)
    param_names = ("method",)
    number = 1
    repeat = 3

    def setup(self, method):
        lattice = Lattice((4, 4, 4, 4))
        self.operator = Wilson(lattice=lattice, links=haar_links(Rng(1), lattice, 3, 8), kappa=0.12)
        self.time_log_det(method)

    def time_log_det(self, method):
        if method == "gradient":
            determinants.log_det_gradient(self.operator)
        else:
            determinants.log_det(self.operator, method)

    def peakmem_log_det(self, method):
        self.time_log_det(method)
