"""Fields in the layouts of other lattice programs."""

from gaugeflow.interop.convert import fermions_from, fermions_to, links_from, links_to
from gaugeflow.interop.layouts import LAYOUTS, Layout

__all__ = ["LAYOUTS", "Layout", "fermions_from", "fermions_to", "links_from", "links_to"]
