"""A command in a machine of its own (`kvik run -- COMMAND`), beside the same command natively: from its start to its
first line and to its end, and git status of a tree of many files, which is what a shared folder's metadata costs.

The tree's rows are timed inside, by bash's clock; all others from outside, with the processor time of kvik and of the
processes that it waits for. The share's own process is not among them.
"""

import os
import re
import resource
import statistics
import subprocess
import tempfile
from pathlib import Path

from vmm import guest_image, timed_lines

FILES, PER_DIRECTORY = 20000, 20
STATUSES = ("git status", "once more", "and again")


def make_tree(directory: Path) -> Path:
    """A git work tree of FILES small files."""
    tree = directory / "tree"
    for number in range(FILES // PER_DIRECTORY):
        folder = tree / f"d{number % 40}/s{number}"
        folder.mkdir(parents=True)
        for file in range(PER_DIRECTORY):
            (folder / f"f{file}.c").write_text(f"int x{number}_{file};\n")
    git = ["git", "-C", str(tree), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], check=True)
    return tree


def script(tree: Path) -> str:
    status = ('a=$EPOCHREALTIME; git status --porcelain | wc -l; b=$EPOCHREALTIME; '
              'echo "took $(( (${b/./} - ${a/./}) / 1000 ))"; ')
    return (f"cd {tree} && export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'; "
            + status * len(STATUSES))


def statuses(command) -> list:
    """Seconds of each git status, which must find nothing changed."""
    text = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True,
                          text=True).stdout
    if text.split() and re.fullmatch(r"(0\ntook \d+\n){3}", text):
        return [int(number) / 1000 for number in re.findall(r"took (\d+)", text)]
    raise RuntimeError(f"git status said {text!r}")


def first_line(command) -> tuple:
    """Seconds to the first line, and to the end; the processor time that was spent."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = [when for when, line in timed_lines(command, "") if "first" in line]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return lines[0], after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def show(name: str, native, machine) -> None:
    native, machine = statistics.median(native), statistics.median(machine)
    print(f"{name:24}{native:11.3f}{machine:11.3f}{machine / native if native else 0:10.1f}x")


def bench(options) -> None:
    kernel = guest_image("kernel")
    run = [options.kvik, "run", "--accel", "engine", "--kernel", kernel]
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as directory:
        tree = make_tree(Path(directory))
        share = ["--share", f"{tree}:rw,cache=always"]
        bash = ["bash", "-c", script(tree)]
        lines, native, machine = [], [], []
        for _ in range(options.runs):
            lines.append(first_line([*run, *options.kvik_option, "--", "echo", "first"]))
            native.append(statuses(bash))
            machine.append(statuses([*run, *share, *options.kvik_option, "--", *bash]))
    print(f"\nA command in a machine\nto its first line{statistics.median(line[0] for line in lines):18.2f} s; "
          f"processor time {statistics.median(line[1] for line in lines):.2f} s\n"
          f"{f'{FILES} files, seconds':24}{'native':>11}{'kvik':>11}")
    for number, name in enumerate(STATUSES):
        show(name, [times[number] for times in native], [times[number] for times in machine])
    print(f"(medians of {options.runs})", flush=True)
