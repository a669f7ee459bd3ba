"""Starts the machines that are measured, reads what they print, and looks at their memory."""

import os
import re
import selectors
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SILENCE_S = 900
MIB = 1 << 20


def guest_image(*arguments) -> str:
    return subprocess.run([str(ROOT / "tools/guest-image"), *arguments], check=True,
                          stdout=subprocess.PIPE).stdout.decode().strip()


def machine(kind: str, kvik: str, kernel: str, initrd: str = "", append: str = "", memory_mib: int = 1024,
            cpus: int = 1, extra=()) -> list:
    """The command that starts "kvik interp", "kvik auto", "QEMU TCG" or "QEMU on kvik"."""
    size = [str(memory_mib) + "M"]
    if kind in ("QEMU TCG", "QEMU on kvik"):
        linux = ["-initrd", initrd, "-append", append] if initrd else []
        way = ["-accel", "tcg", "-cpu", "max"] if kind == "QEMU TCG" else ["-accel", "kvm", "-cpu", "host"]
        return [*([kvik, "kvm"] if kind == "QEMU on kvik" else []), "qemu-system-x86_64", *way, "-m", *size, "-smp", str(cpus),
                "-display", "none", "-monitor", "none", "-serial", "stdio", "-nic", "none", "-no-reboot",
                "-kernel", kernel, *linux, *extra]
    linux = ["--initrd", initrd, "--append", append] if initrd else []
    return [kvik, "run", "--accel", "engine", "--engine", kind.split()[1], "--memory", *size,
            "--cpus", str(cpus), "--kernel", kernel, *linux, *extra]


def end(process) -> None:
    """A machine may be several processes: user-mode Linux has one for each program."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def timed_lines(command, last: str, silence_s: float = SILENCE_S, at_end=lambda process: None,
                at_start=lambda process: None, **options):
    """Runs a machine; yields (seconds since its start, line) until a line holds `last`; then at_end.
    With an empty `last`, until it ends by itself, and then what it wrote on standard error."""
    with tempfile.TemporaryFile() as errors, selectors.DefaultSelector() as selector:
        started = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=errors, bufsize=0, start_new_session=True, **options)
        selector.register(process.stdout, selectors.EVENT_READ)
        pending, text = b"", "its start"
        try:
            at_start(process)
            while selector.select(silence_s):
                data = process.stdout.read(4096)
                now = time.monotonic() - started
                if not data:
                    process.wait()
                    errors.seek(0)
                    words = errors.read().decode(errors="replace").strip()
                    if not last and not process.returncode:
                        yield from ((now, line) for line in words.split("\n"))
                        return
                    raise RuntimeError(f"{command[0]} ended early, after '{text}': {words[-300:] or 'no message'}")
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    text = line.decode(errors="replace").strip()
                    yield now, text
                    if last and last in text:
                        at_end(process)
                        return
            raise RuntimeError(f"{command[0]} printed nothing for {silence_s:.0f} s, after '{text}'")
        finally:
            end(process)
            process.stdout.close()


def processes_of(pid: int) -> list:
    """The process and all that descend from it."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            children.setdefault(int(stat[stat.rindex(")") + 2:].split()[1]), []).append(int(entry))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def processor_time(pid: int) -> float:
    """Seconds, user's and system's, of the process and those that descend from it, ended ones that were waited for included."""
    ticks = 0
    for process in processes_of(pid):
        try:
            stat = Path(f"/proc/{process}/stat").read_text()
        except OSError:
            continue
        ticks += sum(int(field) for field in stat[stat.rindex(")") + 2:].split()[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def own_memory(pid: int, guest_mib: int = 1024, loaded_bytes: int = 1 << 62) -> float:
    """MiB that a VMM has in use besides the guest's RAM, which is kvik's memfd or QEMU's one large
    mapping that is not for code; and besides a mapping of `loaded_bytes` or more: QEMU maps the
    initramfs. A page that is mapped twice counts once (Pss). With its helpers, and the
    page tables of all."""
    total = 0
    for process in processes_of(pid):
        is_left_out = False
        try:
            mappings = Path(f"/proc/{process}/smaps").read_text()
            status = Path(f"/proc/{process}/status").read_text()
        except OSError:
            continue
        for line in mappings.splitlines():
            mapping = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) ", line)
            if mapping:
                size = int(mapping.group(2), 16) - int(mapping.group(1), 16)
                is_left_out = ("kvik-ram" in line or size >= loaded_bytes
                               or (size >= guest_mib * MIB and mapping.group(3)[:3] == "rw-"))
            elif line.startswith("Pss:") and not is_left_out:
                total += int(line.split()[1])
        total += sum(int(size) for size in re.findall(r"^VmPTE:\s+(\d+)", status, re.MULTILINE))
    return total / 1024
