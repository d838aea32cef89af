"""How Sphinx builds the site: `make docs`. Nothing is fetched, neither here nor by the pages."""

import importlib
import os
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

import zoo  # noqa: E402  before anything starts JAX: it says how JAX computes rightly
from tools.site.checks import rooms  # noqa: E402
from tools.site.docstrings import house_to_rst, skip_undocumented  # noqa: E402

# What a tutorial solves is not kept between builds, and a build asks no server for weights.
os.environ.setdefault("ZOO_SOLVED_CACHE", "0")
os.environ.setdefault("ZOO_OFFLINE", "1")

project = "Vanilla Zoo"
author = "the authors of the Vanilla Zoo"
copyright = "Apache-2.0"
version = release = zoo.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["tutorials/notebooks", "requirements.lock"]
source_suffix = {".md": "myst-nb"}
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
# Cards begin below the headings of the gallery; addresses in tables need no reference.
suppress_warnings = ["myst.header", "ref.python"]

nb_execution_mode = "auto"
nb_execution_timeout = 240
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_execution_in_temp = True

autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
maximum_signature_line_length = 80

html_theme = "sphinx_book_theme"
html_title = "Vanilla Zoo"
html_copy_source = True
html_sourcelink_suffix = ""
html_last_updated_fmt = None
html_extra_path = ["llms.txt"]
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navbar_persistent": [],
    "show_navbar_depth": 1,
    "show_toc_level": 2,
}


def links_of_the_site(app, name, source):
    """Links that lead out of docs/: a card is a page here; tests are named, not carried."""
    up = "../" * name.count("/")
    text = re.sub(
        r"\((?:\.\./)*checkpoints/([\w.]+)/card\.md\)", rf"({up}weights/\1.md)", source[0]
    )
    source[0] = re.sub(r"\[([^\]]*)\]\((?:\.\./)+tests/[^)]*\)", r"\1", text)


def resolve_names():
    """Rooms that import on first use have their public names now, or Sphinx would not see them."""
    for room in rooms():
        module = importlib.import_module(room)
        vars(module).update({n: getattr(module, n) for n in getattr(module, "__all__", ())})


def setup(app):
    """Docstrings as this code base writes them, and no lines for what they do not say."""
    resolve_names()
    app.connect("source-read", links_of_the_site)
    app.connect("autodoc-process-docstring", house_to_rst)
    app.connect("autodoc-skip-member", skip_undocumented)
