"""What a healthy kernel says of itself and of its machine, and the boot that asks it."""

import re
import time

from context import Context, HERE, finish, require, sections
from vmm import Failed, Vmm

# What a healthy kernel log has none of.
COMPLAINTS = re.compile(
    r"Oops|BUG:|WARNING:|Call Trace|unchecked MSR|unhandled (rd|wr)msr|general protection|"
    r"soft lockup|self-detected stall|detected stalls|nobody cared|Kernel panic|APIC error|"
    r"ACPI (BIOS )?Error|\[Firmware Bug\]|Marking (clocksource|TSC)|TSC found unstable|"
    r"IO-APIC \+ timer doesn't work|Spurious|segfault|bad page|double fault|invalid opcode|"
    r"do_IRQ: .* No irq handler|hpet.*lost|Disabling IRQ|CPU\d+: failed|not responding", re.I)
# ... except for these, which real machines and QEMU show as well: the keyboard's driver waits 200 ms for an
# answer, which a guest with several CPUs on a busy host hears later.
HARMLESS = re.compile(r"Spurious LAPIC timer|Spurious ACK on isa0060|spurious_interrupt=|Spectre|Speculative|RETBleed|"
                      r"vulnerab|MDS|SRSO|mitigat", re.I)


def check_dmesg(facts: dict, qemu: bool) -> None:
    log = facts.get("dmesg", [])
    require(len(log) > 100, f"dmesg has only {len(log)} lines")
    bad = [line for line in log if COMPLAINTS.search(line) and not HARMLESS.search(line)]
    if qemu:
        # TCG's CPUs each start their time-stamp counter at their own moment.
        bad = [line for line in bad if "TSCs unsynchronized" not in line]
    require(not bad, f"the kernel complains: {bad[0] if bad else ''}"
                     + (f" (and {len(bad) - 1} lines more)" if len(bad) > 1 else ""))


def check_cpuinfo(facts: dict, cpus: int) -> None:
    lines = facts.get("cpuinfo", [])
    fields = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), []).append(value.strip())
    require(fields.get("processor") == [str(n) for n in range(cpus)],
            f"/proc/cpuinfo lists processors {fields.get('processor')}, not {cpus}")
    for name in ("vendor_id", "model name", "fpu", "flags", "bogomips", "address sizes"):
        require(len(fields.get(name, [])) == cpus and all(fields[name]),
                f"/proc/cpuinfo has no {name}")
    flags = set(fields["flags"][0].split())
    wanted = {"fpu", "tsc", "msr", "pae", "cx8", "apic", "pge", "cmov", "pat", "mmx", "fxsr", "sse",
              "sse2", "syscall", "nx", "lm", "hypervisor"}
    require(wanted <= flags, f"/proc/cpuinfo lacks the flags {sorted(wanted - flags)}")
    for mhz in fields.get("cpu MHz", []):
        require(float(mhz) > 100, f"/proc/cpuinfo says {mhz} MHz")


def memory_total_mib(facts: dict) -> float:
    for line in facts.get("meminfo", []):
        match = re.match(r"MemTotal:\s+(\d+) kB", line)
        if match:
            return int(match.group(1)) / 1024
    raise Failed("/proc/meminfo has no MemTotal")


def check_memory(facts: dict, mib: int) -> None:
    total = memory_total_mib(facts)
    # The kernel keeps its image, page structs and crash reserves for itself.
    require(mib * 0.92 - 80 < total <= mib, f"MemTotal is {total:.0f} MiB of {mib}")


def check_work(facts: dict) -> None:
    got = facts.get("work", [])
    expected = (HERE / "facts-work.txt").read_text().splitlines()
    require(got == expected, f"the guest's programs printed {got}, not {expected}")


def check_clock(vmm: Vmm) -> None:
    """Each 10 s window of the guest against the host's clock; the best one counts, because a
    busy host delays single lines."""
    errors = []
    pattern = re.compile(rb"clock-(begin|end) ([\d.]+)\r*\n")
    begin = None
    for match in pattern.finditer(vmm.log):
        point = (float(match.group(2)), vmm.arrival(match.end() - 1))
        if match.group(1) == b"begin":
            begin = point
        elif begin:
            guest, host = point[0] - begin[0], point[1] - begin[1]
            errors.append(abs(guest / host - 1))
    require(bool(errors), "the guest measured no time")
    require(min(errors) < 0.01, f"the guest's clock is off by {min(errors):.1%} over 10 s")


def facts_boot(context: Context, cpus: int, memory: str, mib: int, clock_windows: int = 0,
               kernel=None, extra=()) -> None:
    append = "test.end=poweroff" + (f" test.clock={clock_windows}" if clock_windows else "")
    with context.start(memory=memory, cpus=cpus, append=append, init=HERE / "facts-init",
                       kernel=kernel, extra=extra) as vmm:
        context.vmm = vmm
        date = int(vmm.expect(r"^=== date\r*\n(\d+)\r*\n", "init").group(1))
        require(abs(date - time.time()) < 20, f"the guest's date is off by {date - time.time():.0f} s")
        finish(vmm)
        vmm.check_terminal_restored()
        facts = sections(vmm.text())
        check_cpuinfo(facts, cpus)
        check_memory(facts, mib)
        check_work(facts)
        check_dmesg(facts, context.options.qemu)
        if clock_windows:
            check_clock(vmm)
