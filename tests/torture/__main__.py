"""All torture scripts, one after the other, at length."""

import subprocess
import sys

SCRIPTS = ("kill", "power", "flips", "sync", "full", "torn", "cancel", "migration")


def main() -> int:
    failed = [
        script
        for script in SCRIPTS
        if subprocess.run([sys.executable, "-m", f"tests.torture.{script}", *sys.argv[1:]], check=False).returncode
    ]
    print(f"torture: {'all promises held' if not failed else 'failed: ' + ', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
