"""How the executed notebooks become web pages: `make book`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.execute import published

project = "Deep Q-Networks"
author = "the authors of the course"
copyright = "MIT License"
extensions = ["myst_nb", "sphinx-mathjax-offline"]
root_doc = "index"
html_theme = "sphinx_book_theme"
html_title = "Deep Q-Networks, from the Q-table to Pong"
html_static_path, html_css_files = ["static"], ["wide.css"]
html_copy_source = True
html_favicon = "static/cart.svg"
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is

nb_execution_mode = "off"  # the pages show the recorded outputs
nb_ipywidgets_js = {}  # sliders live in the notebook; a page asks for nothing from the network
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 2
suppress_warnings = ["mystnb.unknown_mime_type"]  # the sliders' own type: a figure stands in


html_theme_options = {
    "use_download_button": True,
    "navbar_persistent": [],  # the search field is in the side bar already
    "use_fullscreen_button": False,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
}
repository, tag = published()
if repository:
    html_theme_options |= {
        "repository_url": repository,
        "repository_branch": tag,
        "path_to_docs": "notebooks",
        "use_repository_button": True,
        "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    }
