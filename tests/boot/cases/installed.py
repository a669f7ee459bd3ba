"""A Debian that GRUB boots from its disk, by each board and firmware."""

import subprocess
import tempfile
from pathlib import Path

from context import Context, ROOT, Skipped, TIMEOUT_S, require
from kernel import COMPLAINTS, HARMLESS
from vmm import Vmm


def installed_boot(context: Context, cpus: int, *extra: str) -> None:
    """A Debian that GRUB boots from its disk: to the prompt, in, and off by the power button."""
    if context.options.qemu:
        raise Skipped("it has its own test in tests/qemu")
    result = subprocess.run([str(ROOT / "tools/guest-disk"), "--grub"], stdout=subprocess.PIPE,
                            check=False)
    if result.returncode:
        raise Skipped("the guest's disk cannot be made (see above)")
    command = [context.options.kvik, "run", f"{result.stdout.decode().strip()},snapshot", "--accel",
               context.options.accel, "--cpus", str(cpus), *extra]
    with Vmm(command, 2 * TIMEOUT_S) as vmm:
        context.vmm = vmm
        # GRUB's own words come with the screen's cursor movements between them.
        vmm.expect(r"Command line: BOOT_IMAGE=/boot/vmlinuz", "a kernel that GRUB has loaded")
        vmm.expect(r"guest login: ", "a login prompt")
        vmm.send("root\n")
        vmm.expect(r"# ", "a shell prompt")
        vmm.send("nproc; uname -m\n")
        vmm.expect(rf"[\r\n]{cpus}\r*\nx86_64\r*\n", "the number of CPUs")
        # The address comes when it comes.
        vmm.send("until ip -4 -o addr | grep 10.0.2.15; do sleep 1; done\n")
        vmm.expect(r"inet 10\.0\.2\.15/24", "an address")
        vmm.expect(r"# ", "a shell prompt")
        # Firmware begins at the wake-up, and has the kernel go on.
        vmm.send("echo +3 >/sys/class/rtc/rtc0/wakealarm; echo mem >/sys/power/state; echo woken-$((6 * 7)) on $(nproc)\n")
        vmm.expect(rf"woken-42 on {cpus}\b", "the guest, awake again")
        vmm.expect(r"# ", "a shell prompt")
        vmm.send("dmesg; echo done-$((6 * 7))\n")
        begin = len(vmm.log)
        vmm.expect(r"^done-42", "the end of dmesg")
        log = vmm.log[begin:].decode(errors="replace").splitlines()
        bad = [line for line in log if COMPLAINTS.search(line) and not HARMLESS.search(line)]
        require(not bad, f"the kernel complains: {bad[:3]}")
        vmm.expect(r"# ", "a shell prompt")
        vmm.send("\x01p")
        vmm.expect(r"reboot: Power down", "the end")
        status = vmm.wait()
        require(status == 0, f"exit status {status} after the power button, not 0")
        vmm.check_terminal_restored()


def test_installed_bios(context):
    """Debian from its disk by SeaBIOS and GRUB, to login, network, sleep and power button."""
    installed_boot(context, 1)


def test_installed_bios_smp(context):
    """The same with 4 CPUs."""
    installed_boot(context, 4)


def test_installed_uefi(context):
    """The same by OVMF, with variables in a file."""
    with tempfile.TemporaryDirectory() as directory:
        variables = Path(directory) / "vars"
        installed_boot(context, 1, "--firmware", f"uefi,vars={variables}")
        require(variables.stat().st_size > 0, "OVMF's variables were not kept")


def test_installed_uefi_smp(context):
    """The same with 4 CPUs, and variables that are lost."""
    installed_boot(context, 4, "--firmware", "uefi")


def test_installed_q35_bios(context):
    """The same on a q35, by SeaBIOS."""
    installed_boot(context, 1, "--machine", "q35")


def test_installed_q35_bios_smp(context):
    """The same with 4 CPUs."""
    installed_boot(context, 4, "--machine", "q35")


def test_installed_q35_uefi(context):
    """The same by OVMF."""
    installed_boot(context, 1, "--machine", "q35", "--firmware", "uefi")


def test_installed_q35_uefi_smp(context):
    """The same with 4 CPUs."""
    installed_boot(context, 4, "--machine", "q35", "--firmware", "uefi")


QUICK = []
LONG = [test_installed_bios, test_installed_bios_smp, test_installed_uefi, test_installed_uefi_smp,
        test_installed_q35_bios, test_installed_q35_bios_smp, test_installed_q35_uefi,
        test_installed_q35_uefi_smp]
