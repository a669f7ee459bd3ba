"""Debian's gdb with four CPUs of a kernel."""

import os
import re
import shutil
import subprocess
import tempfile

from context import HERE, Skipped, TIMEOUT_S, require, sections
from kernel import check_dmesg


def gdb_says(place: str, *commands: str) -> str:
    """Debian's gdb, in a batch of commands; what it prints."""
    words = ["set confirm off", "set pagination off", "set remotetimeout 120",
             f"target remote {place}", *commands, "detach"]
    result = subprocess.run(["gdb", "-nx", "-batch", *(part for word in words for part in ("-ex", word))],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            timeout=TIMEOUT_S, check=False)
    text = result.stdout.decode(errors="replace")
    require("Remote target) detached" in text, f"gdb says:\n{text}")
    return text


def check_gdb_says(text: str, *patterns: str) -> None:
    position = 0
    for pattern in patterns:
        match = re.compile(pattern, re.MULTILINE).search(text, position)
        require(match is not None, f"no {pattern!r} in what gdb says:\n{text}")
        position = match.end()


def test_gdb(context):
    """gdb with four CPUs of a kernel: stops, steps, watches, goes, comes back, and from a reset on."""
    if context.options.qemu:
        raise Skipped("the stub is kvik's")
    if not shutil.which("gdb"):
        raise Skipped("there is no gdb")
    with tempfile.TemporaryDirectory() as directory:
        place = os.path.join(directory, "gdb")
        with context.start(cpus=4, append="nokaslr quiet", init=HERE / "gdb-init",
                           extra=["--gdb", f"unix:{place}"]) as vmm:
            context.vmm = vmm
            symbols = {}
            for _ in range(3):
                match = vmm.expect(r"^symbol ([0-9a-f]{16}) \w (\w+)\r*\n")
                symbols[match.group(2).decode()] = int(match.group(1), 16)
            vmm.expect("^=== ready")
            clone, start = symbols["kernel_clone"], symbols["start_kernel"]
            text = gdb_says(place, "info threads", f"break *{clone}", "continue",
                            f"p/x $pc == {clone}", "p $cr0", "p $cs & 3", "backtrace 2", "stepi", "stepi",
                            f"p $pc > {clone} && $pc < {clone} + 64", "delete",
                            f"watch *(unsigned long *){symbols['jiffies_64']}", "continue", "continue",
                            "delete", f"hbreak *{clone}", "continue", f"p (long)$pc - {clone}", "info threads")
            check_gdb_says(text, r"Thread 1 \(CPU 0, \w+\)", r"Thread 4 \(CPU 3, \w+\)",
                           r"^Thread \d hit Breakpoint 1", r"\$1 = 0x1", r"\$2 = \[ PE .*PG \]",
                           r"\$3 = 0", r"^#0 ", r"\$4 = 1", r"hit Hardware watchpoint 2", r"New value = \d+",
                           r"hit Hardware watchpoint 2", r"hit Breakpoint 3", r"\$5 = 0", r"Thread 4")
            vmm.send("one\n")
            vmm.expect("^said one")
            text = gdb_says(place, f"x/4i {clone}", "monitor info registers", "thread 3",
                            "monitor info registers")
            require("int3" not in text, f"an INT3 was left:\n{text}")
            check_gdb_says(text, "^CPU 0 in ", "^CPU 2 in ")
            vmm.send("two\n")
            vmm.expect("^said two")
            # From the first instruction on, through the unpacking of the kernel. It compares the first
            # bytes of its functions with what it expects there (ftrace): the INT3 stands behind them.
            text = gdb_says(place, "monitor reset", "maintenance flush register-cache", "p/x $pc",
                            "info threads", f"hbreak *{start}", "continue", f"p (long)$pc - {start}",
                            "p $_thread", "stepi", "delete", f"break *{clone + 5}", "continue",
                            f"p (long)$pc - {clone}")
            check_gdb_says(text, r"\$1 = 0x1[0-9a-f]{6}$", r"CPU 3, not started", r"hit Breakpoint 1",
                           r"\$2 = 0$", r"\$3 = 1$", r"hit Breakpoint 2", r"\$4 = 5$")
            vmm.expect("^=== ready")
            vmm.send("off\n")
            vmm.expect("^=== end")
            status = vmm.wait()
            require(status == 0, f"exit status {status} after power-off, not 0")
            check_dmesg(sections(vmm.text()), False)


QUICK = [test_gdb]
LONG = []
