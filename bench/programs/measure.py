"""Runs the rows of `--only programs` natively and in machines, taking turns, and compares."""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from vmm import guest_image, machine, own_memory, timed_lines
from . import roots

HERE = Path(__file__).resolve().parent
NATIVE = "native"
# What may be compared, in the order of the table. User-mode Linux has one CPU, and is at its best when
# its two sides share one of the host's.
MACHINES = {"native": NATIVE, "kvik": "kvik auto", "jit": "kvik jit", "direct": "kvik direct", "interp": "kvik interp",
            "tcg": "QEMU TCG", "uml": "UML", "uml-free": "UML, free"}
# Without --machines: with one CPU, and what further ones are compared with.
ALL, PAIR = "native,kvik,tcg,uml,uml-free", "native,kvik"
MEMORY_MIB = 3072
PARALLEL = "make"    # the row that uses all CPUs
SYSTEMD = "systemd"  # a row of its own: a boot, of VMMs alone
# How far the guest's clock and the host's may be apart: a line takes its time to the host, too.
CLOCKS_S, CLOCKS_PART = 0.1, 0.1
IN_CHROOT = """
mount -t tmpfs -o size=3G,mode=755 tmpfs "$0"
cd "$0"
cpio --quiet -idm <"$1"
mount -t proc proc proc
mount -t tmpfs tmpfs tmp
mount --rbind /dev dev
exec taskset -c "$2" env -i PATH=/usr/sbin:/usr/bin chroot . /bench/rows-of "$3"
"""


class Result:
    """What one run of a row was: seconds by its own clock and by the host's, status, checksum."""

    def __init__(self, seconds: float, host_s: float, status: int, checksum: str):
        self.seconds, self.host_s, self.status, self.checksum = seconds, host_s, status, checksum

    @property
    def clocks_agree(self) -> bool:
        return abs(self.seconds - self.host_s) <= CLOCKS_S + CLOCKS_PART * self.host_s


def host_cpus(count: int) -> str:
    """The first of the host's CPUs that this process may use, for taskset."""
    return ",".join(str(cpu) for cpu in sorted(os.sched_getaffinity(0))[:count])


@contextmanager
def command_of(kind: str, kvik: str, rows, cpus: int, then: str = "stay", extra=()):
    """The command that runs these rows."""
    image = str(roots.programs_archive())
    names = ",".join(rows)
    append = f"quiet panic=-1 bench.rows={names} bench.then={then}"
    with tempfile.TemporaryDirectory() as scratch:
        if kind == NATIVE:
            if os.geteuid() != 0:
                raise RuntimeError("programs run natively in a chroot of the same files: run it as root")
            yield ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", IN_CHROOT, scratch,
                   image, host_cpus(cpus), names]
        elif kind.startswith("UML"):
            library = Path(scratch) / "uml_xstate.so"
            subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "uml_xstate.c"], check=True)
            pinned = [] if "free" in kind else ["taskset", "-c", host_cpus(1)]
            yield ["env", f"LD_PRELOAD={library}", *pinned, "linux.uml", f"mem={MEMORY_MIB}M", f"initrd={image}", "con=null", "con0=null,fd:1",
                   f"umid=kvik-bench-{os.getpid()}", *append.split()]
        else:
            yield machine(kind, kvik, guest_image("kernel"), image, "console=ttyS0 " + append, MEMORY_MIB, cpus,
                          extra)


def follow(lines, results: dict, on_row=lambda name: None, on_end=lambda name: None) -> None:
    """Fills in {row: Result} from what a machine prints."""
    name = None
    for now, line in lines:
        match = re.search(r"> ([a-z0-9-]+)$", line)
        if match:
            name, begin = match.group(1), now
            on_row(name)
            continue
        match = re.search(r"< ([a-z0-9-]+) (\d+) (\d+) ([0-9a-f]{64})$", line)
        if match and match.group(1) == name:
            on_end(name)
            results[name] = Result(int(match.group(3)) / 1e6, now - begin, int(match.group(2)), match.group(4))
        elif line.startswith("| "):
            print(f"  {name} {line}", flush=True)


def extra_options(kind: str, options) -> list:
    return options.kvik_option if kind.startswith("kvik") else []


def run_rows(kind: str, options, rows, cpus: int, memory: list, results: dict) -> None:
    """Fills in what rows printed, also when the machine then fails."""
    def look(process) -> None:
        if kind.startswith(("kvik", "QEMU")):
            memory.append(own_memory(process.pid, MEMORY_MIB, roots.programs_archive().stat().st_size))

    with command_of(kind, options.kvik, rows, cpus, extra=extra_options(kind, options)) as command:
        follow(timed_lines(command, "rows done", at_end=look), results)


def run_systemd(kind: str, options, cpus: int) -> Result:
    """From the start of the VMM to the targets behind which there are logins; what is compared is which units are up then."""
    begin, units, is_prompt, is_reported = 0.0, [], False, False
    command = machine(kind, options.kvik, guest_image("kernel"), str(roots.systemd_archive()),
                      "console=ttyS0 quiet panic=-1 systemd.show_status=0", 1024, cpus,
                      extra_options(kind, options))
    # The prompt and the report come in either order: no single line is the last.
    lines = timed_lines(command, "\n")
    for now, line in lines:
        if "target-reached" in line and not begin:
            begin = now
        elif "login-reached" in line:
            is_prompt = True
        elif line.startswith("unit"):
            units.append(line)
        elif "report-done" in line:
            is_reported = True
        if begin and is_prompt and is_reported:
            break
    lines.close()
    return Result(begin, begin, 0 if begin else 1, " ".join(sorted(units)))


class Session:
    """All turns of one number of CPUs."""

    def __init__(self, options, rows, cpus: int):
        self.options, self.cpus = options, cpus
        self.rows = [name for name in rows if name != SYSTEMD]
        self.kinds = [MACHINES[name] for name in (options.machines or (ALL if cpus == 1 else PAIR)).split(",")]
        self.has_systemd = SYSTEMD in rows and any(kind.startswith(("kvik", "QEMU")) for kind in self.kinds)
        if cpus > 1:
            self.kinds = [kind for kind in self.kinds if not kind.startswith("UML")]
        self.times = {}      # (kind, row): [Result]
        self.memory = {kind: [] for kind in self.kinds}
        self.wrong = set()

    def run(self) -> None:
        for turn in range(self.options.runs):
            for kind in self.kinds:
                started = time.monotonic()
                boots = self.has_systemd and kind.startswith(("kvik", "QEMU"))
                results = {}
                try:
                    if self.rows:
                        run_rows(kind, self.options, self.rows, self.cpus, self.memory[kind], results)
                    if boots:
                        results[SYSTEMD] = run_systemd(kind, self.options, self.cpus)
                except RuntimeError as failure:
                    # What the others take an hour for is not lost by it.
                    print(f"bench: FAILED: {kind}: {failure}", flush=True)
                for name in self.rows + ([SYSTEMD] if boots else []):
                    if name not in results:
                        self.wrong.add((kind, name))
                for name, result in results.items():
                    self.times.setdefault((kind, name), []).append(result)
                print(f"bench: programs, {self.cpus} CPUs, turn {turn + 1} of {self.options.runs}: {kind} took "
                      f"{time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)

    def compare(self) -> None:
        """Every result of a row with the first one, which is the native one where there is one."""
        for name in self.all_rows():
            kinds = [kind for kind in self.kinds if (kind, name) in self.times]
            if not kinds:
                continue
            right = self.times[kinds[0], name][0]
            for kind in kinds:
                for result in self.times[kind, name]:
                    if result.status or result.checksum != right.checksum:
                        self.wrong.add((kind, name))
                        print(f"bench: WRONG: {kind}, {name}: status {result.status}, {result.checksum}; "
                              f"{kinds[0]} has {right.status}, {right.checksum}", flush=True)
                    if not result.clocks_agree:
                        print(f"bench: clocks: {kind}, {name}: {result.seconds:.2f} s by its own clock, "
                              f"{result.host_s:.2f} s by the host's", flush=True)

    def all_rows(self) -> list:
        return self.rows + ([SYSTEMD] if self.has_systemd else [])

    def median(self, kind: str, name: str):
        results = self.times.get((kind, name))
        return statistics.median(result.seconds for result in results) if results else None

    def print(self) -> None:
        base = self.kinds[0]
        others = self.kinds[1:]
        print(f"\nPrograms, {self.cpus} CPU{'s' if self.cpus > 1 else ''}, times as long as {base}, median of "
              f"{self.options.runs}\n{'':16}{base + ' ms':>12}" + "".join(f"{kind:>13}" for kind in others)
              + ("   TCG/kvik" if "QEMU TCG" in others and "kvik auto" in others else ""))
        columns = {kind: {} for kind in others}
        for name in self.rows:
            seconds = self.median(base, name)
            for kind in others:
                if seconds and self.median(kind, name):
                    columns[kind][name] = self.median(kind, name) / seconds
            print(f"{name:16}" + (f"{seconds * 1000:12.1f}" if seconds else f"{'-':>12}") + "".join(
                (f"{columns[kind][name]:12.2f}" if name in columns[kind] else f"{'-':>12}")
                + ("!" if (kind, name) in self.wrong else " ") for kind in others)
                + self.against_tcg(columns, name))
        columns = {kind: column for kind, column in columns.items() if column}
        self.print_sums(columns)
        if self.has_systemd:
            print("systemd to its login target: " + ", ".join(
                f"{kind} {self.median(kind, SYSTEMD):.2f} s" + ("!" if (kind, SYSTEMD) in self.wrong else "")
                for kind in self.kinds if self.median(kind, SYSTEMD)))
        used = {kind: values for kind, values in self.memory.items() if values}
        if used:
            print("own memory besides the guest's: " + ", ".join(
                f"{kind} {statistics.median(values):.0f} MiB" for kind, values in used.items()))
        print("results: " + (f"{len(self.wrong)} WRONG (marked !)" if self.wrong else "all as "
                             + ("natively" if base == NATIVE else f"in {base}")), flush=True)

    def print_sums(self, columns) -> None:
        if not columns:
            return
        means = {kind: statistics.geometric_mean(column.values()) for kind, column in columns.items()}
        print(f"{'geometric mean':28}" + "".join(
            f"{means[kind]:12.2f} " if kind in means else f"{'-':>12} " for kind in self.kinds[1:])
            + self.against_tcg({kind: {"": mean} for kind, mean in means.items()}, ""))
        slowest = {kind: max(column, key=column.get) for kind, column in columns.items()}
        print("slowest row: " + ", ".join(f"{kind} {name} {columns[kind][name]:.1f}"
                                          for kind, name in slowest.items()))

    def ratios(self, kind: str, base: str) -> dict:
        """{row: how many times as long as in `base`}, of what both have done."""
        return {name: self.median(kind, name) / self.median(base, name) for name in self.rows
                if self.median(kind, name) and self.median(base, name)}

    def tell(self, goals) -> None:
        """What is to be reached with one CPU."""
        ours = self.ratios("kvik auto", NATIVE)
        theirs = self.ratios("QEMU TCG", "kvik auto")
        systemd, tcg_systemd = (self.median(kind, SYSTEMD) for kind in ("kvik auto", "QEMU TCG"))
        if ours:
            slowest = max(ours, key=ours.get)
            goals.at_most("programs, times native, geometric mean", statistics.geometric_mean(ours.values()), 3)
            goals.at_most(f"programs, the slowest row ({slowest})", ours[slowest], 6)
        if theirs:
            least = min(theirs, key=theirs.get)
            goals.at_least("programs, times as fast as TCG", statistics.geometric_mean(theirs.values()), 4.5)
            goals.at_least(f"programs, times as fast as TCG, the least row ({least})", theirs[least], 2)
        for kind in ("UML", "UML, free"):
            others = self.ratios("kvik auto", kind)
            if others:
                goals.none(f"programs slower than in user-mode Linux{' that is not pinned' if 'free' in kind else ''}",
                           (name for name, ratio in others.items() if ratio > 1))
        if systemd and tcg_systemd:
            goals.at_most("systemd to its login target, of TCG's time", systemd / tcg_systemd, 0.35)
        if self.memory.get("kvik auto"):
            goals.at_most("own memory besides the guest's", statistics.median(self.memory["kvik auto"]), 150, " MiB")

    @staticmethod
    def against_tcg(columns, name: str) -> str:
        if any(name not in columns.get(kind, {}) for kind in ("QEMU TCG", "kvik auto")):
            return ""
        return f"{columns['QEMU TCG'][name] / columns['kvik auto'][name]:11.2f}"


def print_gain(one: Session, more: Session, goals) -> None:
    """What the further CPUs brought, to each row and to their mix."""
    kinds = {}
    for kind in more.kinds:
        gains = {name: one.median(kind, name) / more.median(kind, name) for name in more.rows
                 if one.median(kind, name) and more.median(kind, name)}
        if gains:
            kinds[kind] = gains
    if not kinds:
        return
    print(f"\n{more.cpus} CPUs instead of {one.cpus}, times as fast\n{'':16}" + "".join(f"{kind:>13}" for kind in kinds))
    for name in more.rows:
        print(f"{name:16}" + "".join(f"{gains[name]:13.2f}" if name in gains else f"{'-':>13}"
                                     for gains in kinds.values()))
    print(f"{'geometric mean':16}" + "".join(f"{statistics.geometric_mean(gains.values()):13.2f}"
                                             for gains in kinds.values()), flush=True)
    native, ours = kinds.get(NATIVE, {}), kinds.get("kvik auto", {})
    if more.cpus == 2 and PARALLEL in native and PARALLEL in ours:
        goals.at_least(f"what a second CPU brings to {PARALLEL}, of what it brings natively", ours[PARALLEL] / native[PARALLEL], 0.8)


def chosen_rows(options) -> list:
    known = [*roots.rows(), SYSTEMD]
    chosen = options.rows.split(",") if options.rows else known
    for name in chosen:
        if name not in known:
            raise RuntimeError(f"there is no row '{name}'; there are {', '.join(known)}")
    return chosen


def bench(options, goals) -> bool:
    """Whether all results were right."""
    rows = chosen_rows(options)
    machines = options.machines or ALL
    for name in machines.split(","):
        if name not in MACHINES:
            raise RuntimeError(f"there is no machine '{name}'; there are {', '.join(MACHINES)}")
    if "uml" in machines and not shutil.which("linux.uml"):
        raise RuntimeError("user-mode Linux is missing: run tools/setup bench, or leave it out with --machines")
    sessions = []
    for cpus in options.cpus.split(","):
        if not re.fullmatch("[1-9][0-9]?", cpus):
            raise RuntimeError(f"--cpus {options.cpus}: want numbers from 1 to 99, as 1,2,4")
        sessions.append(Session(options, rows, int(cpus)))
        sessions[-1].run()
        sessions[-1].compare()
        sessions[-1].print()
        if sessions[-1].cpus == 1:
            sessions[-1].tell(goals)
        if len(sessions) > 1:
            print_gain(sessions[0], sessions[-1], goals)
    return not any(session.wrong for session in sessions)
