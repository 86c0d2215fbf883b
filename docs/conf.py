"""How the documentation is built: ``sphinx-build -W --keep-going docs docs/_build``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from gaugeflow import __version__

project = "gaugeflow"
author = "The gaugeflow developers"
copyright = "the gaugeflow developers"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx-mathjax-offline",
    "api_reference",
    "linked_code",
    "arxiv_links",
    "sphinx_codeautolink",
]
exclude_patterns = ["_build", "runs", "scripts"]

# ---- pages -------------------------------------------------------------------------------------------------------
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
nitpicky = True
codeautolink_concat_default = True  # the blocks of a page are one program, as the tests run them
default_role = "code"
smartquotes = False  # primes of formulas are primes

# ---- API reference -----------------------------------------------------------------------------------------------
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
numpydoc_show_class_members = False
viewcode_line_numbers = True

# ---- look --------------------------------------------------------------------------------------------------------
html_theme = "pydata_sphinx_theme"
html_title = f"gaugeflow {version}"
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {"[!_]**": ["navigation.html"], "_modules/**": []}  # pages of source code need the width
html_show_sourcelink = False
html_theme_options = {
    "navbar_center": [],
    "navbar_persistent": [],
    "navbar_end": ["search-button-field", "theme-switcher"],
    "navigation_depth": 2,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
