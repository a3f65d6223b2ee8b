"""Become a command inside the project's virtual environment, making that environment first if need be.

    python3 tools/bootstrap.py EXTRAS COMMAND [ARGUMENT ...]

EXTRAS are extras of pyproject.toml, joined by commas, or ``core`` for none.  ``data`` is a special
one: the packages under ``[tool.bootstrap]``, installed without what they depend on, because only
their files are read; without them the command runs all the same.  A COMMAND that begins with a
dash is given to Python (``-m pytest``); any other is looked up in the environment.

Only the standard library is used, so a machine with Python and pip is enough.  Packages are
installed again only when pyproject.toml, the Python or the folder has changed; otherwise the
cost is one small file to read.  The first Python to come gets ``.venv``, any other minor
version one of its own (``.venv-3.11``), so that going back and forth rebuilds nothing.

The command replaces this process: signals reach it, and its exit status is ours.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts this with an older Python is the one who needs the line
    sys.exit(
        "genesis_trio needs Python 3.11 or newer, and this is {}.{}.{} ({}); "
        "name a newer one, for example: make test PYTHON=python3.13".format(*sys.version_info[:3], sys.executable)
    )

import fcntl
import hashlib
import json
import os
import subprocess
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


def main(extras: str, command: str, *arguments: str) -> None:
    """Prepare the environment, then replace this process by the command."""
    wanted = sorted({extra for extra in extras.split(",") if extra != "core"})
    environment = find_environment()
    if missing(environment, wanted):
        # One at a time: `make demo` and `make test` may be started together.
        with (ROOT / "pyproject.toml").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if missing(environment, wanted):
                install(environment, wanted)
    binaries = environment / "bin"
    os.environ["VIRTUAL_ENV"] = str(environment)
    os.environ["PATH"] = f"{binaries}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    os.chdir(ROOT)
    line = ["python", command, *arguments] if command.startswith("-") else [command, *arguments]
    if not (binaries / line[0]).exists():
        sys.exit(f"there is no {line[0]} in {environment}; the extras that were asked for are: {extras}")
    os.execv(binaries / line[0], line)


def find_environment() -> Path:
    """The folder that belongs to this minor version of Python."""
    shared = ROOT / ".venv"
    try:
        config = (shared / "pyvenv.cfg").read_text(encoding="utf-8")
    except FileNotFoundError:
        return shared
    settings = dict(line.replace(" ", "").split("=", 1) for line in config.splitlines() if "=" in line)
    # The standard library writes `version`, uv and virtualenv write `version_info`.
    version = settings.get("version", settings.get("version_info", ""))
    return shared if version.startswith(f"{MINOR}.") else ROOT / f".venv-{MINOR}"


def read_stamp(environment: Path) -> dict[str, object]:
    """What was installed when the last installation succeeded; empty when none has."""
    try:
        stamp: dict[str, object] = json.loads((environment / "genesis-stamp.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return stamp


def expected() -> dict[str, object]:
    """What an installation depends on, besides the extras."""
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    return {"pyproject": digest, "python": sys.version, "root": str(ROOT)}


def missing(environment: Path, wanted: list[str]) -> bool:
    """True when *environment* has to be made or brought up to date."""
    stamp = read_stamp(environment)
    have = stamp.pop("extras", [])
    usable = (environment / "bin" / "python").exists()
    return not usable or stamp != expected() or not set(wanted).issubset(have if isinstance(have, list) else ())


def install(environment: Path, wanted: list[str]) -> None:
    """Make *environment* if it is not usable, and install the project with its extras into it."""
    now, stamp = expected(), read_stamp(environment)
    have = stamp.get("extras")
    extras = sorted({*wanted, *(have if isinstance(have, list) else ())})
    print(f"preparing {environment.name} for Python {MINOR}; later starts skip this", file=sys.stderr, flush=True)
    (environment / "genesis-stamp.json").unlink(missing_ok=True)
    python = environment / "bin" / "python"
    # Scripts and links inside name the folder and the Python they were made for.
    stale = any(stamp.get(key, now[key]) != now[key] for key in ("python", "root"))
    if stale or not python.exists():
        try:
            venv.create(environment, clear=True, with_pip=True, symlinks=True)
        except subprocess.CalledProcessError:
            sys.exit(f"{sys.executable} could not make a virtual environment; on Debian: apt install python3-venv")
    elif subprocess.run([python, "-c", "import pip"], stderr=subprocess.DEVNULL).returncode:
        subprocess.run([python, "-m", "ensurepip"], stdout=subprocess.DEVNULL, check=True)  # uv makes it without pip
    of_project = [extra for extra in extras if extra != "data"]
    target = str(ROOT) + (f"[{','.join(of_project)}]" if of_project else "")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*pip, "--editable", target]).returncode:
        sys.exit(
            f"pip could not install genesis_trio (its words are above); the next start tries again in {environment}"
        )
    if "data" in extras:
        packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["bootstrap"]["data"]
        if subprocess.run([*pip, "--no-deps", *packages]).returncode:
            print(f"going on without {', '.join(packages)}; the next start tries again", file=sys.stderr, flush=True)
            extras.remove("data")
    (environment / "genesis-stamp.json").write_text(json.dumps({**now, "extras": extras}), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(f"usage: {sys.argv[0]} EXTRAS COMMAND [ARGUMENT ...]")
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
