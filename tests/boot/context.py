"""What every boot test needs: how to start the VMM, where the images are, what a test says."""

import os
import subprocess
from pathlib import Path

from vmm import Failed, Vmm

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

TIMEOUT_S = float(os.environ.get("KVIK_BOOT_TIMEOUT", "300"))

VIRTIO_MODULES = ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev",
                  "virtio_pci", "virtio_mmio"]


class Skipped(Exception):
    """Why a test cannot run here."""


class Context:
    """What every test needs: how to start the VMM, and where the images are."""

    def __init__(self, options):
        self.options = options

    def image(self, *arguments) -> str:
        result = subprocess.run([str(ROOT / "tools/guest-image"), *arguments],
                                stdout=subprocess.PIPE, check=False)
        if result.returncode:
            raise Skipped("the guest's packages cannot be had (see above)")
        return result.stdout.decode().strip()

    def start(self, memory="1G", cpus=1, append="", init=None, kernel=None, timeout_s=TIMEOUT_S,
              extra=(), modules=(), added=(), flavour="cloud"):
        kernel = kernel or self.image("kernel", "--flavour", flavour)
        initrd = self.image("initramfs", "--flavour", flavour, *(["--init", str(init)] if init else []),
                            *(word for name in modules for word in ("--module", name)),
                            *(word for item in added for word in ("--add", item)))
        append = f"console=ttyS0 {append}".strip()
        if self.options.qemu:
            command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", memory,
                       "-smp", str(cpus), "-nographic", "-kernel", kernel, "-initrd", initrd,
                       "-append", append]
        else:
            command = [self.options.kvik, "run", "--accel", self.options.accel,
                       "--kernel", kernel, "--initrd", initrd, "--append", append,
                       "--memory", memory, "--cpus", str(cpus), *extra]
        return Vmm(command, timeout_s)


def sections(text: str) -> dict:
    """The parts of facts-init's output by name, as lists of lines."""
    parts, current = {}, None
    for line in text.splitlines():
        if line.startswith("=== "):
            current = parts.setdefault(line[4:].strip(), [])
        elif current is not None:
            current.append(line)
    return parts


def require(condition: bool, text: str) -> None:
    if not condition:
        raise Failed(text)


def finish(vmm) -> None:
    """Wait for the end of a test's init, and for the power-off behind it."""
    vmm.expect(r"^=== end", "the end of init")
    status = vmm.wait()
    require(status == 0, f"exit status {status} after power-off, not 0")
