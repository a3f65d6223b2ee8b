"""How Sphinx builds the documentation: `make docs`, where a warning is an error."""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]

with (ROOT / "pyproject.toml").open("rb") as file:
    PROJECT = tomllib.load(file)["project"]

project = PROJECT["name"]
author = PROJECT["authors"][0]["name"]
copyright = f"2026 {author}"
release = PROJECT["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "genesis_tables"]
exclude_patterns = ["_build", "decisions/0000-template.md"]
html_theme = "furo"
html_title = f"{project} {release}"

# Docstrings write `name` for code: a link where there is a page for it, plain code where there is none.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
