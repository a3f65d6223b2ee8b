"""The plugin of the how-to works when it is installed: its files are taken from the page."""

import sys
import tomllib

import pytest

from genesis_trio.cli import main

PAGE = "how-to/write-a-component-plugin.md"


@pytest.fixture
def installed(tmp_path, monkeypatch, block_of):
    """The plugin as an installed distribution, made from the page's own pyproject.toml."""
    for name in ("circuit_light.py", "service.toml"):
        (tmp_path / name).write_text(block_of(PAGE, name), encoding="utf-8")
    project = tomllib.loads(block_of(PAGE, "pyproject.toml"))["project"]
    folder = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (folder / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("circuit_light", None)


def test_plugin_page_component_is_found_by_its_entry_point(installed, capsys):
    """Name, entry point and options of the page fit together."""
    assert main(["check", "service.toml"]) == 0

    assert capsys.readouterr().out == "service.toml: desk with 1 child is well described\n"


def test_plugin_page_broken_plugin_is_named_with_its_distribution(installed, capsys):
    """The page promises name, distribution and reason in one line."""
    (installed / "circuit_light.py").write_text("import nothing_of_that_name", encoding="utf-8")

    assert main(["check", "service.toml"]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert "plugin 'spread-light' (circuit_light:SpreadLight, of circuit-light 1.0) cannot be loaded" in line
    assert "nothing_of_that_name" in line
