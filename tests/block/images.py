"""What the tests of images share: disks to put into them, tools that must succeed, cases that pass or fail."""

import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

SIZE = 24 * 1024 * 1024 + 512 * 3


class Failed(Exception):
    pass


def run(*command, status=0):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300)
    if done.returncode != status:
        raise Failed(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}")
    return done.stdout


def make_source(path, seed, base=None):
    """A raw disk of data, zeroes and holes, different from `base` here and there."""
    choose = random.Random(seed)
    if base:
        shutil.copyfile(base, path)
    with open(path, "r+b" if base else "wb") as file:
        file.truncate(SIZE)
        for _ in range(60):
            file.seek(choose.randrange(SIZE // 512) * 512)
            size = min(choose.choice((512, 4096, 65536, 300 * 512)), SIZE - file.tell())
            file.write(choose.choice((choose.randbytes(size), bytes(size), b"text" * (size // 4))))


class Skipped(Exception):
    pass


def run_cases(names, case):
    """Call case(name, folder) for each, in an empty folder in memory; the status of a test program."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    failures = 0
    for name in names:
        with tempfile.TemporaryDirectory(dir=memory, prefix="kvik-images-") as folder:
            try:
                case(name, Path(folder))
                print(f"PASS {name}", flush=True)
            except Skipped as reason:
                print(f"SKIP {name}: {reason}", flush=True)
            except Failed as failure:
                print(f"FAIL {name}: {failure}", flush=True)
                failures += 1
    return 1 if failures else 0
