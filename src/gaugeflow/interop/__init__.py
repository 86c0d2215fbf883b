"""Fields in the layouts and objects of other lattice programs."""

from gaugeflow.interop.convert import fermions_from, fermions_to, links_from, links_to
from gaugeflow.interop.layouts import LAYOUTS, Layout
from gaugeflow.interop.objects import links_of, put_links

__all__ = ["LAYOUTS", "Layout", "fermions_from", "fermions_to", "links_from", "links_of", "links_to", "put_links"]
