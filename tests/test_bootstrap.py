"""tools/bootstrap.py: when an environment is made, when it is brought up to date, and when nothing is done."""

import importlib.util
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / "tools" / "bootstrap.py"
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


class Pip:
    """Stands for the processes that bootstrap starts: remembers their arguments, and fails on demand."""

    def __init__(self) -> None:
        self.installed: list[str] = []
        self.status = 0
        self.unreachable: set[str] = set()

    def run(self, command: list[Any], **options: Any) -> subprocess.CompletedProcess[str]:
        if "install" in command:
            self.installed.append(str(command[-1]))
            return subprocess.CompletedProcess(command, int(command[-1] in self.unreachable) or self.status)
        return subprocess.CompletedProcess(command, 0)


@pytest.fixture
def pip() -> Pip:
    return Pip()


@pytest.fixture
def bootstrap(tmp_path: Path, pip: Pip, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, pointed at a project in *tmp_path*, with fakes for what takes long."""
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    spec = importlib.util.spec_from_file_location("bootstrap", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module.subprocess, "run", pip.run)

    def create(folder: Path, **options: Any) -> None:
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        for name in ("python", "genesis", "ruff", "sphinx-build"):
            (folder / "bin" / name).touch()
        (folder / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {MINOR}.9\n")

    monkeypatch.setattr(module.venv, "create", create)
    # `main` changes both for the command that it becomes; here it goes on being this process.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.setenv("VIRTUAL_ENV", "")
    return module


@pytest.fixture
def became(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that the process would have become."""
    commands: list[list[str]] = []
    monkeypatch.setattr(bootstrap.os, "execv", lambda path, arguments: commands.append([Path(path).name, *arguments]))
    return commands


def test_bootstrap_first_start_makes_the_environment_and_becomes_the_command(
    bootstrap: ModuleType, pip: Pip, became: list[list[str]], tmp_path: Path
) -> None:
    """From nothing: environment, installation with the extras, then the command inside of it."""
    bootstrap.main("dev", "ruff", "check", ".")

    assert pip.installed == [f"{tmp_path}[dev]"]
    assert became == [["ruff", "ruff", "check", "."]]
    assert os.environ["PATH"].startswith(f"{tmp_path / '.venv' / 'bin'}{os.pathsep}")
    assert os.environ["VIRTUAL_ENV"] == str(tmp_path / ".venv")


def test_bootstrap_second_start_installs_nothing(bootstrap: ModuleType, pip: Pip, became: list[list[str]]) -> None:
    """Nothing has changed, so nothing is done but to become the command."""
    bootstrap.main("dev", "ruff")
    pip.installed.clear()

    bootstrap.main("dev", "ruff")
    bootstrap.main("core", "-m", "genesis_trio.demo")

    assert pip.installed == []
    assert became[-1] == ["python", "python", "-m", "genesis_trio.demo"]


def test_bootstrap_changed_pyproject_installs_again(
    bootstrap: ModuleType, pip: Pip, became: list[list[str]], tmp_path: Path
) -> None:
    """Dependencies may have changed with the file that names them."""
    bootstrap.main("core", "genesis")
    (tmp_path / "pyproject.toml").write_text("[project]\nversion = '2'\n")

    bootstrap.main("core", "genesis")

    assert pip.installed == [str(tmp_path)] * 2


def test_bootstrap_another_extra_keeps_those_that_are_there(
    bootstrap: ModuleType, pip: Pip, became: list[list[str]], tmp_path: Path
) -> None:
    """`make docs` after `make test` adds to the environment; `make test` then finds all it needs."""
    bootstrap.main("dev", "ruff")
    bootstrap.main("docs", "sphinx-build")
    bootstrap.main("dev", "ruff")

    assert pip.installed == [f"{tmp_path}[dev]", f"{tmp_path}[dev,docs]"]


def test_bootstrap_failed_installation_is_tried_again(bootstrap: ModuleType, pip: Pip, became: list[list[str]]) -> None:
    """Half an installation is none: the next start begins anew, and the command is not run."""
    pip.status = 1
    with pytest.raises(SystemExit, match="pip could not install genesis_trio"):
        bootstrap.main("dev", "ruff")
    pip.status = 0

    bootstrap.main("dev", "ruff")

    assert len(pip.installed) == 2
    assert len(became) == 1


def test_bootstrap_data_is_installed_beside_the_project(
    bootstrap: ModuleType, pip: Pip, became: list[list[str]], tmp_path: Path
) -> None:
    """`data` is no extra of the project but a list of packages whose files are read; once is enough."""
    (tmp_path / "pyproject.toml").write_text("[tool.bootstrap]\ndata = ['prices==1']\n")

    bootstrap.main("data", "genesis")
    bootstrap.main("data", "genesis")

    assert pip.installed == [str(tmp_path), "prices==1"]


def test_bootstrap_data_that_cannot_be_had_does_not_stop_the_command(
    bootstrap: ModuleType, pip: Pip, became: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command runs without it, and the next start tries again."""
    (tmp_path / "pyproject.toml").write_text("[tool.bootstrap]\ndata = ['prices==1']\n")
    pip.unreachable = {"prices==1"}

    bootstrap.main("data", "genesis")

    assert became == [["genesis", "genesis"]]
    assert "going on without prices==1; the next start tries again" in capsys.readouterr().err

    pip.unreachable = set()
    bootstrap.main("data", "genesis")

    assert pip.installed == [str(tmp_path), "prices==1"] * 2


def test_bootstrap_moved_folder_makes_the_environment_anew(
    bootstrap: ModuleType, pip: Pip, became: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts inside an environment name its folder, so a copied one does not work."""
    bootstrap.main("core", "genesis")
    stamp = tmp_path / ".venv" / "genesis-stamp.json"
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "root": "/elsewhere"}))
    cleared: list[bool] = []
    create = bootstrap.venv.create
    monkeypatch.setattr(bootstrap.venv, "create", lambda *a, **o: (cleared.append(o["clear"]), create(*a, **o)))

    bootstrap.main("core", "genesis")

    assert cleared == [True]
    assert len(pip.installed) == 2


def test_bootstrap_damaged_stamp_counts_as_none(
    bootstrap: ModuleType, pip: Pip, became: list[list[str]], tmp_path: Path
) -> None:
    """A start that was killed while it wrote the stamp does no harm."""
    bootstrap.main("core", "genesis")
    (tmp_path / ".venv" / "genesis-stamp.json").write_text('{"pyproj')

    bootstrap.main("core", "genesis")

    assert len(pip.installed) == 2


def test_bootstrap_command_that_is_not_there_is_named(bootstrap: ModuleType, became: list[list[str]]) -> None:
    """A wrong name, or an extra that does not bring the command, gives one clear line."""
    with pytest.raises(SystemExit, match=r"there is no pyright in .*; the extras that were asked for are: core"):
        bootstrap.main("core", "pyright")

    assert became == []


@pytest.mark.parametrize(
    ("config", "folder"),
    [
        (None, ".venv"),
        (f"version = {MINOR}.1\n", ".venv"),
        (f"version_info = {MINOR}.1\nuv = 0.13\n", ".venv"),
        ("version = 3.1.4\n", f".venv-{MINOR}"),
        ("nothing known\n", f".venv-{MINOR}"),
    ],
)
def test_bootstrap_environment_belongs_to_one_version(
    bootstrap: ModuleType, tmp_path: Path, config: str | None, folder: str
) -> None:
    """The first Python gets `.venv`, another minor version its own, so that switching rebuilds nothing."""
    if config is not None:
        (tmp_path / ".venv").mkdir()
        (tmp_path / ".venv" / "pyvenv.cfg").write_text(config)

    assert bootstrap.find_environment() == tmp_path / folder


def test_bootstrap_old_python_gets_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names what is needed, what this is, and what to type."""
    monkeypatch.setattr(sys, "version_info", (3, 9, 18, "final", 0))

    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(SCRIPT), run_name="__main__")

    assert str(caught.value) == (
        f"genesis_trio needs Python 3.11 or newer, and this is 3.9.18 ({sys.executable}); "
        "name a newer one, for example: make test PYTHON=python3.13"
    )


def test_bootstrap_without_a_command_shows_its_usage() -> None:
    """Called by hand it says how."""
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (1, f"usage: {SCRIPT} EXTRAS COMMAND [ARGUMENT ...]\n")
