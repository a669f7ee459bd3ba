"""What the tools share that make guests' file systems: where these are kept, and how they are packed."""

import os
import subprocess
from pathlib import Path


def cache_directory() -> Path:
    """$KVIK_CACHE, else ~/.cache/kvik; made if need be."""
    path = Path(os.environ.get("KVIK_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "kvik"))
    path.mkdir(parents=True, exist_ok=True)
    return path


def write_archive(root: Path, out) -> None:
    """All files below `root` as an initramfs, into the open file `out`. Raises CalledProcessError."""
    subprocess.run("find . | LC_ALL=C sort | cpio --quiet -o -H newc", shell=True, cwd=root, stdout=out,
                   check=True)
