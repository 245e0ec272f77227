"""The settings of Sphinx for the site: see docs/decisions/site.md. Its source is what docs/site/source.py writes."""

project = "Message Proxy Service"
author = "The kafka-mps authors"
copyright = author  # noqa: A001 - Sphinx's name for it
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 6  # the anchors that GitHub gives headings, and that the links of the pages mean
html_theme = "furo"
html_title = project
html_show_sourcelink = False
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]
