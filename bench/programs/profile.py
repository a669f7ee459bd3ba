"""Where kvik's time goes in a row: `--profile`.

Each row gets a boot of its own with --stats, one boot more runs no row, and what is shown is the
difference: what booting and unpacking cost is out of it. Where perf is installed, it watches kvik
from the row's first moment to its last.
"""

import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from vmm import timed_lines
from . import measure

COUNTERS = ("instructions of the interpreter", "instructions interpreted inside translated code",
            "entries into translated code", "blocks run by the interpreter", "TLB misses", "exceptions",
            "interrupts", "blocks translated", "guest bytes translated", "host bytes of translations",
            "jumps linked", "translations invalidated", "code cache chunks evicted")
LONGEST = 10  # of the lists


def statistics_of(line: str, into: Counter) -> None:
    """kvik: CPU 0: NAME (SHARE %) NUMBER, summed over the CPUs."""
    match = re.match(r"kvik: CPU \d+: (.+?)(?: \([\d.]+ %\))? (\d+)$", line)
    if match:
        into[match.group(1)] += int(match.group(2))


class Perf:
    """perf record of one process, from begin to end; without perf, nothing."""

    def __init__(self, directory: str):
        self.data = Path(directory) / "perf.data"
        self.process = self.recorder = None

    def begin(self) -> None:
        if shutil.which("perf"):
            self.recorder = subprocess.Popen(
                ["perf", "record", "-q", "-F", "499", "-o", str(self.data), "-p", str(self.process.pid)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end(self) -> None:
        if self.recorder:
            self.recorder.send_signal(signal.SIGINT)
            self.recorder.wait()
            self.recorder = None

    def report(self, keys: str, limit: int) -> list:
        if not self.data.exists():
            return []
        text = subprocess.run(["perf", "report", "-q", "--stdio", "-i", str(self.data), "--sort", keys],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              check=False).stdout.decode(errors="replace")
        lines = [" ".join(line.split()).removesuffix(" - -") for line in text.splitlines() if re.match(r"\s+[\d.]+%", line)]
        # Translated code has no symbols: one line for all of it.
        return [line for line in lines if "[.] 0x" not in line][:limit]


def run_once(options, rows, cpus: int, perf: Perf):
    """(results, statistics) of a boot that runs these rows."""
    results, counts = {}, Counter()

    def lines(command):
        def at_start(process) -> None:
            perf.process = process
        for now, line in timed_lines(command, "", at_start=at_start):
            statistics_of(line, counts)
            yield now, line

    with measure.command_of("kvik auto", options.kvik, rows, cpus, "off",
                            ["--stats", *options.kvik_option]) as command:
        measure.follow(lines(command), results, lambda name: perf.begin(), lambda name: perf.end())
    return results, counts


def print_list(title: str, counts: Counter, prefix: str) -> None:
    items = Counter({name[len(prefix):]: count for name, count in counts.items() if name.startswith(prefix)})
    print(f"  {title}: " + ", ".join(f"{name} {count:,}" for name, count in items.most_common(LONGEST) if count > 0))


def print_row(name: str, result, counts: Counter, perf: Perf) -> None:
    print(f"\n{name}: {result.seconds:.2f} s with --stats")
    times = {what[3:].removeprefix("in "): count for what, count in counts.items() if what.startswith("ms ")}
    total = max(sum(times.values()), 1)
    if min(times.values()) < -total / 20:
        print("  time: the host was too busy to tell: without the row it took longer")
    else:
        print("  time: " + ", ".join(f"{what} {max(ms, 0) / total:.0%}" for what, ms in times.items()))
    print("  counts: " + ", ".join(f"{what} {counts[what]:,}" for what in COUNTERS))
    print_list("interpreted, no translation", counts, "not translated: ")
    print_list("interpreted, slow paths", counts, "slow paths: ")
    for what, hits in (("returns paired", "returns behind the last call"),
                       ("indirect jumps looked up", "hits of the jump table"),
                       ("accesses looked up", "hits of the TLB and its page slots")):
        print(f"  {what} {counts[what]:,}, found {counts[hits] / max(counts[what], 1):.2%}")
    for keys, limit in (("dso", 5), ("dso,symbol", 20)):
        for line in perf.report(keys, limit):
            print(f"  perf: {line}")


def profile(options) -> None:
    cpus = int(options.cpus.split(",")[0])
    rows = [name for name in measure.chosen_rows(options) if name != measure.SYSTEMD]
    with tempfile.TemporaryDirectory() as scratch:
        _, idle = run_once(options, [], cpus, Perf(scratch))
        for name in rows:
            perf = Perf(scratch)
            perf.data.unlink(missing_ok=True)
            results, counts = run_once(options, [name], cpus, perf)
            if name not in results:
                raise RuntimeError(f"{name} did not end")
            counts.subtract(idle)
            print_row(name, results[name], counts, perf)
