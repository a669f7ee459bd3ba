"""Kernels and CPUs: what Linux finds, with several CPUs, of several vendors, and after a reboot."""

import re
import time

from context import HERE, Skipped, TIMEOUT_S, finish, require, sections
from kernel import check_dmesg, facts_boot


def test_facts(context):
    """1 GiB: cpuinfo, a clean kernel log, memory, time within 1%, power-off with status 0."""
    facts_boot(context, cpus=1, memory="1G", mib=1024, clock_windows=3)


def test_two_cpus_and_the_hole(context):
    """2 CPUs and 4.5 GiB: memory on both sides of the hole under 4 GiB."""
    facts_boot(context, cpus=2, memory="4608M", mib=4608)


def test_many_cpus(context):
    """64 CPUs on what the host has: all come up, run programs and hear their timers; no stall or lockup."""
    cpus = 64
    with context.start(memory="512M", cpus=cpus, append="quiet", init=HERE / "cpus-init",
                       extra=() if context.options.qemu else ["--machine", "microvm"]) as vmm:
        context.vmm = vmm
        finish(vmm)
        facts = sections(vmm.text())
        require(facts.get("booted") == [f"0-{cpus - 1}"], f"online are the CPUs {facts.get('booted')}")
        ran = sorted(facts.get("programs", []), key=lambda line: int(line.split()[0]))
        require(ran == [f"{n} {n}" for n in range(cpus)], f"programs, and the CPUs that they ran on: {ran}")
        timers = [int(word) for word in facts.get("timers", [""])[0].split() if word.isdigit()]
        require(len(timers) == cpus and all(timers), f"timer interrupts of the CPUs: {timers}")
        check_dmesg(facts, context.options.qemu)


def model_boot(context, model: str, vendor: str) -> None:
    if context.options.qemu or context.options.accel != "engine":
        raise Skipped("the vendor is the host's where the host's CPU runs the guest")
    facts_boot(context, cpus=1, memory="256M", mib=256, extra=["--cpu", model])
    cpuinfo = sections(context.vmm.text()).get("cpuinfo", [])
    require(any(re.match(rf"vendor_id\s*: {vendor}$", line) for line in cpuinfo),
            f"the CPU's vendor is not {vendor}")


def test_amd_model(context):
    """A CPU of AMD's, whatever the host's vendor."""
    model_boot(context, "EPYC,+invtsc", "AuthenticAMD")


def test_intel_model(context):
    """One of Intel's, with few features."""
    model_boot(context, "Nehalem", "GenuineIntel")


def test_reboot(context):
    """The guest reboots and comes up again."""
    with context.start(append="test.end=reboot", init=HERE / "facts-init") as vmm:
        context.vmm = vmm
        vmm.expect(r"^=== booted", "the first boot's init")
        vmm.expect(r"^=== end", "the first boot's end")
        vmm.deadline = time.monotonic() + TIMEOUT_S
        vmm.expect(r"^=== booted", "the second boot's init")


def test_pvh_elf(context):
    """The uncompressed kernel, by PVH."""
    facts_boot(context, cpus=1, memory="512M", mib=512, kernel=context.image("elf"))


def test_generic_kernel(context):
    """Debian's generic kernel, linux-image-amd64."""
    facts_boot(context, cpus=1, memory="1G", mib=1024,
               kernel=context.image("kernel", "--flavour", "generic"))


def test_debian_13_kernel(context):
    """Debian 13's kernel line."""
    facts_boot(context, cpus=1, memory="1G", mib=1024,
               kernel=context.image("kernel", "--flavour", "cloud-6.12"))


QUICK = [test_facts, test_two_cpus_and_the_hole, test_many_cpus, test_amd_model, test_intel_model, test_reboot]
LONG = [test_pvh_elf, test_generic_kernel, test_debian_13_kernel]
