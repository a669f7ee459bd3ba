"""Debian's gdb with four CPUs of a kernel."""

import os
import re
import shutil
import subprocess
import tempfile
import time

from context import HERE, Skipped, TIMEOUT_S, require, sections
from kernel import check_dmesg


def gdb_says(place: str, *commands: str, symbols=None) -> str:
    """Debian's gdb, in a batch of commands, with the symbols of that file; what it prints."""
    words = ["set confirm off", "set pagination off", "set remotetimeout 120",
             f"target remote {place}", *commands, "detach"]
    result = subprocess.run(["gdb", "-nx", "-batch", "-iex", "set auto-load off",
                             *(part for word in words for part in ("-ex", word)), *([symbols] if symbols else [])],
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


# How the kernel finds the task that runs on a CPU: per-CPU variables lie at offsets from GS.
TASK = "(*(struct task_struct **)($gs_base + (unsigned long)&current_task))"


def test_gdb_symbols(context):
    """gdb with four CPUs and all that Debian knows of its kernel: from the first instruction to system calls, by name."""
    if context.options.qemu:
        raise Skipped("the stub is kvik's")
    if not shutil.which("gdb"):
        raise Skipped("there is no gdb")
    symbols = context.image("symbols")
    with tempfile.TemporaryDirectory() as directory:
        place = os.path.join(directory, "gdb")
        with context.start(cpus=4, append="nokaslr quiet", init=HERE / "gdb-init",
                           extra=["--gdb", f"unix:{place}", "--gdb-wait"]) as vmm:
            context.vmm = vmm
            while not os.path.exists(place):
                require(vmm.process.poll() is None and time.monotonic() < vmm.deadline, "it does not listen")
                time.sleep(0.02)
            # The unpacked kernel's first instructions have physical addresses.
            text = gdb_says(place, "p/x $pc", "stepi", "hbreak *0x1000000", "continue", "x/i $pc", "delete",
                            "hbreak start_kernel", "continue", "backtrace 2", "info threads", "next",
                            "delete", "hbreak run_init_process if $_streq(init_filename, \"/init\")", "continue",
                            "p init_filename", "p linux_banner", "backtrace 3", f"p {TASK}->comm", f"p {TASK}->pid",
                            symbols=symbols)
            check_gdb_says(text, r"\$1 = 0x[0-9a-f]+$", r"hit Breakpoint 1, 0x0+1000000", r"=> 0x1000000:",
                           r"hit Breakpoint 2, start_kernel \(\)", r"^#0 +start_kernel \(\) at init/main.c:\d+",
                           r"^#1 .* in secondary_startup_64 ", r"\(CPU 1, not started\)",
                           r"hit Breakpoint 3, run_init_process \(init_filename=", r"\$2 = 0x[0-9a-f]+ .*\"/init\"",
                           r"\$3 = .*\"Linux version ", r"^#0 +run_init_process", r"^#1 .* in kernel_init ",
                           r"\$4 = \"swapper/0", r"\$5 = 1$")
            vmm.expect("^=== ready")
            text = gdb_says(place, "thread apply all backtrace 1", "break kernel_clone if args->exit_signal == 17",
                            "continue", "backtrace", "p args->exit_signal", f"p {TASK}->comm", "finish", "delete",
                            "watch jiffies_64", "continue", "backtrace 1", "continue", "delete",
                            "hbreak do_exit", "continue", "p code", "up", symbols=symbols)
            check_gdb_says(text, r"^Thread 4 \(Thread 4 \(CPU 3, ", r"^Thread 1 \(Thread 1 \(CPU 0, ",
                           r"^Thread \d hit Breakpoint 1, kernel_clone \(args=", r"^#1 .* in __do_sys_\w*(clone|fork)",
                           r"^#\d .*\bdo_syscall_64 \(regs", r"^#\d .* in entry_SYSCALL_64 \(\)", r"\$1 = 17$",
                           r"\$2 = \"(sh|busybox|init)\W", r"Value returned is \$3 = \d+", r"ardware watchpoint 2: jiffies_64",
                           r"Old value = (\d+)\s+New value = (?!\1)\d+", r"^#0 +tick_do_update_jiffies64",
                           r"hit Hardware watchpoint 2", r"hit Breakpoint 3, do_exit \(code=", r"\$4 = 0$",
                           r"^#1 .* in do_group_exit ")
            vmm.send("one\n")
            vmm.expect("^said one")
            # Nothing is left behind, and it goes on from where it is found again.
            text = gdb_says(place, "info breakpoints", "x/3i kernel_clone", "info threads", symbols=symbols)
            check_gdb_says(text, r"No breakpoints", r"<kernel_clone>", r"\(CPU 3, ")
            require("int3" not in text, f"an INT3 was left:\n{text}")
            vmm.send("off\n")
            vmm.expect("^=== end")
            status = vmm.wait()
            require(status == 0, f"exit status {status} after power-off, not 0")
            check_dmesg(sections(vmm.text()), False)


QUICK = [test_gdb]
LONG = [test_gdb_symbols]
