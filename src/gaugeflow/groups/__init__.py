"""The manifolds that fields live on: how to move a field, and how to measure tangent vectors."""

from gaugeflow.groups.euclidean import Euclidean
from gaugeflow.groups.manifold import Manifold, manifold_of
from gaugeflow.groups.su import SU, algebra_basis

__all__ = ["SU", "Euclidean", "Manifold", "algebra_basis", "manifold_of"]
