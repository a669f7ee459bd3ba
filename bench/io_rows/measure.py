"""Runs the rows of `--only io` natively and in machines, taking turns: a disk and a network.

A machine's disk is a raw file, with the cache mode that both kvik and QEMU have by default: the host's page
cache. So natively the rows work on a file through the page cache, too, and what is compared is what stands
between it and the guest. The network is the one in user space, to a server on the host's loopback.
"""

import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from programs import roots
from vmm import guest_image, machine, timed_lines

HERE = Path(__file__).resolve().parent
NATIVE = "native"
MACHINES = {"native": NATIVE, "kvik": "kvik auto", "tcg": "QEMU TCG", "qemu": "QEMU on kvik"}
ROWS = ["read", "write", "random-read", "random-write", "one-by-one", "synced", "send", "receive"]
PACKAGES = "fio iperf3 iproute2 kmod mount procps".split()
MODULES = ("virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk failover "
           "net_failover virtio_net").split()
DEFAULT = "native,kvik,tcg"
MEMORY_MIB = 1024
DISK_BYTES = 512 << 20
IN_CHROOT = """
mount --bind "$1" "$0/mnt"
mount -t tmpfs tmpfs "$0/tmp"
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
root=$0
shift
exec env -i PATH=/usr/sbin:/usr/bin chroot "$root" "$@"
"""


def add_rows(root: Path) -> None:
    """The rows, and the kernel's modules, which the other initramfs of the tree has in files of their own."""
    (root / "bench").mkdir()
    shutil.copy(HERE / "rows", root / "bench/rows")
    shutil.copy(HERE / "init", root / "init")
    small = guest_image("initramfs", "--init", str(HERE / "init"), *(word for name in MODULES for word in ("--module", name)))
    with open(small, "rb") as file:
        subprocess.run(["cpio", "--quiet", "-id", "lib/modules/*"], stdin=file, cwd=root, check=True)


def io_archive() -> Path:
    return roots.archive(PACKAGES, [HERE / "init", HERE / "rows", HERE / "measure.py"], add_rows)


def in_root(mounted: Path, *command: str) -> list:
    """The command in a chroot of the guest's files, with a folder of the host's as /mnt."""
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", IN_CHROOT,
            str(roots.base(PACKAGES)), str(mounted), *command]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def server(scratch: Path, port: int):
    """An iperf3 on the host's loopback."""
    command = in_root(scratch, "iperf3", "-s", "-B", "127.0.0.1", "-p", str(port), "--forceflush")
    with open(scratch / "server", "w", encoding="ascii") as log, \
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + 30
            while "listening" not in (scratch / "server").read_text():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"iperf3 does not serve: {(scratch / 'server').read_text().strip()}")
                time.sleep(0.05)
            yield
        finally:
            process.kill()


def command_of(kind: str, options, rows, disk: Path, port: int) -> list:
    names = ",".join(rows)
    if kind == NATIVE:
        shutil.copy(HERE / "rows", disk.parent / "rows")
        return in_root(disk.parent, "bash", "/mnt/rows", f"/mnt/{disk.name}", "io_uring", "0", "127.0.0.1",
                       str(port), names)
    append = f"console=ttyS0 quiet panic=-1 io.rows={names} io.port={port} io.modules={','.join(MODULES)}"
    if kind.startswith("kvik"):
        devices = ["--disk", f"{disk},format=raw", "--net", "user", *options.kvik_option]
    else:
        devices = ["-drive", f"file={disk},format=raw,if=none,id=disk", "-device", "virtio-blk-pci,drive=disk",
                   "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"]
    return machine(kind, options.kvik, guest_image("kernel"), str(io_archive()), append, MEMORY_MIB, 1, devices)


def processor_s(session: int) -> float:
    """Seconds of processor time that all processes of a session have used, those that ended included."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            ticks += sum(map(int, fields[11:15]))
    return ticks / 100


def run_rows(kind: str, options, rows, disk: Path, port: int) -> dict:
    """{row: (number, unit, the part of one processor that the machine had in use)}"""
    results, started = {}, {}
    session = []
    lines = timed_lines(command_of(kind, options, rows, disk, port), "rows done",
                        at_start=lambda process: session.append(process.pid))
    for now, line in lines:
        if match := re.search(r"> ([a-z-]+)$", line):
            started = {match.group(1): (now, processor_s(session[0]))}
        elif match := re.search(r"< ([a-z-]+) ([0-9.]+) (\S+)$", line):
            begin, used = started[match.group(1)]
            results[match.group(1)] = (float(match.group(2)), match.group(3),
                                       (processor_s(session[0]) - used) / (now - begin))
    return results


def print_table(kinds, rows, results, runs: int) -> None:
    """`results` is {(machine, row): [(number, unit, processors)]}"""
    def median(kind: str, row: str, which: int) -> float:
        return statistics.median(result[which] for result in results[kind, row])

    print(f"\nDisk and network, median of {runs}; in brackets the processors in use\n{'':14}{'':8}"
          + "".join(f"{kind:>22}" for kind in kinds)
          + "".join(f"{kind + ' / ' + kinds[0]:>22}" for kind in kinds[1:]))
    ratios = {kind: [] for kind in kinds[1:]}
    for row in rows:
        measured = [kind for kind in kinds if (kind, row) in results]
        if not measured:
            continue
        cells = "".join(f"{median(kind, row, 0):15.1f} ({median(kind, row, 2):4.2f})" if kind in measured else f"{'-':>22}"
                        for kind in kinds)
        shares = ""
        for kind in kinds[1:]:
            if kind in measured and kinds[0] in measured and median(kinds[0], row, 0):
                ratio = median(kind, row, 0) / median(kinds[0], row, 0)
                shares += f"{ratio:22.2f}"
                if ratio > 0:
                    ratios[kind].append(ratio)
            else:
                shares += f"{'-':>22}"
        print(f"{row:14}{results[measured[0], row][0][1]:8}{cells}{shares}")
    if all(ratios.values()):
        print(f"{'geometric mean':{22 + 22 * len(kinds)}}"
              + "".join(f"{statistics.geometric_mean(values):22.2f}" for values in ratios.values()))
    sys.stdout.flush()


def bench(options) -> bool:
    """Whether every row gave a number everywhere."""
    names = [name for name in (options.machines or DEFAULT).split(",") if not name.startswith("uml")]
    for name in names:
        if name not in MACHINES:
            raise RuntimeError(f"there is no machine '{name}' for io; there are {', '.join(MACHINES)}")
    rows = options.rows.split(",") if options.rows else ROWS
    for row in rows:
        if row not in ROWS:
            raise RuntimeError(f"there is no row '{row}' of io; there are {', '.join(ROWS)}")
    kinds = [MACHINES[name] for name in names]
    results = {}
    # Where the caches are there is a real file system; /tmp may be memory.
    with tempfile.TemporaryDirectory(prefix="io.", dir=roots.cache_directory()) as directory:
        disk, port = Path(directory) / "disk", free_port()
        with open(disk, "wb") as file:
            for _ in range(DISK_BYTES >> 20):
                file.write(bytes(1 << 20))
        with server(Path(directory), port):
            for turn in range(options.runs):
                for kind in kinds:
                    begin = time.monotonic()
                    for row, result in run_rows(kind, options, rows, disk, port).items():
                        results.setdefault((kind, row), []).append(result)
                    print(f"bench: io, turn {turn + 1} of {options.runs}: {kind} took "
                          f"{time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    print_table(kinds, rows, results, options.runs)
    return all(len(results.get((kind, row), [])) == options.runs for kind in kinds for row in rows)
