"""Configuration of the documentation: python -m sphinx -W --keep-going -b html docs docs/_build/html"""

import re
import sys
from pathlib import Path

import fastfc

sys.path.insert(0, str(Path(__file__).parent))
import figures
import gallery

project = "fastfc"
author = "The fastfc authors"
project_copyright = "2026, The fastfc authors"
version = release = fastfc.__version__

extensions = [
    "myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_gallery.gen_gallery",
]  # fmt: skip
exclude_patterns = ["_build", "tutorials"]

figures.draw(Path(__file__).parent / "_build")

# The tutorials are scripts in tutorials/, which the build runs in a copy; their pages are in learn/.
sphinx_gallery_conf = {
    "examples_dirs": gallery.copied(Path(__file__).parent / "_build" / "tutorials"),
    "gallery_dirs": "learn",
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"cs231n",
    "within_subsection_order": "gallery.Order",
    "image_scrapers": ("gallery.scraped", "matplotlib"),
    "reset_modules": ("matplotlib", "gallery.reset"),
    "ignore_repr_types": r"matplotlib",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "write_computation_times": False,
    "show_signature": False,
    "remove_config_comments": True,
    "first_notebook_cell": "%matplotlib inline",
}

# The docstrings write arguments in single backticks.
default_role = "code"
# Names in the docstrings that sphinx cannot find would pass unnoticed.
nitpicky = True
nitpick_ignore_regex = [
    # The types of parameters are written for people ("float or None", "array (N, D)").
    ("py:class", r".*"),
    # Other projects' functions.
    ("py:(func|meth|data|mod|obj|exc)", r"(numpy|np|numba|sklearn)\..*"),
    # Developers' names: they are explained where they stand, and have no page.
    ("py:.*", r"fastfc\.(_|kernels|reference|training).*"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"fastfc {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]


def with_names(app, what, name, value, options, signature, annotation):
    """Defaults that are classes or functions by their names: np.float32, not <class 'numpy.float32'>."""
    if signature is not None:
        signature = re.sub(r"<class 'numpy\.(\w+)'>", r"np.\1", signature)
        signature = re.sub(r"<function (\w+)>", r"\1", signature)
    return signature, annotation


def setup(app):
    app.connect("autodoc-process-signature", with_names)
