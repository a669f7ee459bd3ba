"""Systems as others ship them: Debian's installer, firmware and loaders, memory tests, other kernels."""

import subprocess
import time
from pathlib import Path

from frame import HERE, ROOT, TIMEOUT_S, Skipped, output, packed, require

OVMF = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")


# -- Debian's installer --


def installer_files(context):
    where = "usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64"
    name = "debian-installer-12-netboot-amd64"
    return packed(name, f"{where}/linux", context.scratch), packed(name, f"{where}/initrd.gz", context.scratch)


def test_installer(context):
    """Debian's installer, its kernel and initrd started directly: to the choice of a language."""
    kernel, initrd = installer_files(context)
    append = "console=ttyS0 TERM=linux --- quiet"
    with context.start("--kernel", kernel, "--initrd", initrd, "--append", append, "--net", "user", memory="1G",
                       qemu=["-kernel", kernel, "-initrd", initrd, "-append", append]) as vmm:
        vmm.expect(r"Select a language", "the menu of languages")
        vmm.expect(r"English", "its lines")
        # On to the next one, as a person would.
        time.sleep(1)
        vmm.send("\r")
        vmm.expect(r"Select your location", "the menu of places")


def test_installer_cd(context):
    """The same from a CD, by SeaBIOS and GRUB."""
    kernel, initrd = installer_files(context)
    image = context.cd("linux /boot/linux console=ttyS0 --- quiet\ninitrd /boot/initrd", linux=kernel, initrd=initrd)
    with context.start_cd(image, memory="1G") as vmm:
        vmm.expect(r"Select a language", "the menu of languages")


# -- programs of firmware and loaders --


def cd_boot(context, *more, qemu=(), **options):
    """A CD that grub-mkrescue makes, its kernel, and off."""
    init = ROOT / "tests/boot/facts-init"
    image = context.cd("echo GRUB on $grub_platform\nlinux /boot/vmlinuz console=ttyS0 quiet\ninitrd /boot/initrd",
                       is_uefi="uefi" in more, vmlinuz=context.image("kernel"),
                       initrd=context.image("initramfs", "--init", init))
    with context.start("--cdrom", image, "--net", "none", *more,
                       qemu=["-cdrom", image, "-net", "none", *qemu], **options) as vmm:
        vmm.expect(r"^=== end", "the end of init")
        require(vmm.wait() == 0, "the exit status is not 0")


def test_cd_pc(context):
    """A CD by grub-mkrescue in the IDE drive of a pc."""
    cd_boot(context)


def test_cd_q35(context):
    """The same in the AHCI drive of a q35."""
    cd_boot(context, "--machine", "q35", qemu=["-M", "q35"])


def test_cd_uefi(context):
    """The same, by OVMF."""
    cd_boot(context, "--firmware", "uefi", qemu=["-bios", "/usr/share/ovmf/OVMF.fd"])


def usb_boot(context, *more):
    """The same image as a stick: it is a disk as well."""
    if context.options.qemu:
        raise Skipped("the line is kvik's")
    init = ROOT / "tests/boot/facts-init"
    image = context.cd("linux /boot/vmlinuz console=ttyS0 quiet\ninitrd /boot/initrd",
                       is_uefi="uefi" in more, vmlinuz=context.image("kernel"),
                       initrd=context.image("initramfs", "--init", init))
    with context.start("--disk", f"{image},format=raw,readonly,bus=usb", "--net", "none", *more) as vmm:
        vmm.expect(r"^=== end", "the end of init")
        require(vmm.wait() == 0, "the exit status is not 0")


def test_usb_bios(context):
    """A stick by USB, by SeaBIOS."""
    usb_boot(context)


def test_usb_uefi(context):
    """A stick by USB, by OVMF, on a q35."""
    usb_boot(context, "--firmware", "uefi", "--machine", "q35")


def test_memtest(context):
    """memtest86+ from a CD: its first pass, without an error."""
    program = packed("memtest86+", "boot/memtest86+x64.bin", context.scratch / "memtest")
    image = context.cd("linux /boot/memtest console=ttyS0,115200 nobench nosmp", memtest=program)
    with context.start_cd(image, memory="32M", timeout_s=4 * TIMEOUT_S) as vmm:
        vmm.expect(r"Memtest86\+", "its name")
        vmm.expect(r"Testing", "its table")
        # Its state, which it only has when there was no error; "Pass   %" is a label.
        vmm.expect(r"Pass {3}[^%]", "the end of the first pass")


def test_ipxe(context):
    """iPXE's CD: to its prompt, and by DHCP to an address."""
    image = packed("ipxe", "usr/lib/ipxe/ipxe.iso", context.scratch)
    with context.start("--cdrom", image, "--net", "user", qemu=["-cdrom", image]) as vmm:
        vmm.expect(r"iPXE 1\.", "its name")
        vmm.expect(r"Ctrl-B", "its offer")
        vmm.send("\x02")
        vmm.expect(r"iPXE> ", "its prompt")
        vmm.send("dhcp\r")
        vmm.expect(r"ok", "an address")
        vmm.expect(r"iPXE> ", "its prompt")
        vmm.send("show net0/ip\r")
        vmm.expect(r"10\.0\.2\.15", "the address")


def test_uefi_shell(context):
    """OVMF without anything to boot: its shell, which does what is typed."""
    if not OVMF.exists():
        raise Skipped("OVMF is not installed: run tools/setup disk")
    with context.start("--firmware", "uefi", "--net", "none",
                       qemu=["-bios", "/usr/share/ovmf/OVMF.fd", "-net", "none"]) as vmm:
        vmm.expect(r"Shell>", "the prompt")
        vmm.send("\r")
        vmm.expect(r"Shell>", "another prompt")
        vmm.send("memmap\r")
        vmm.expect(r"Total Memory: +511 MB", "the map of memory")
        vmm.expect(r"Shell>", "the prompt")
        vmm.send("reset -s\r")
        require(vmm.wait(60) == 0, "the exit status is not 0")


def test_u_boot(context):
    """U-Boot as firmware: to its prompt."""
    rom = packed("u-boot-qemu", "usr/lib/u-boot/qemu-x86_64/u-boot.rom", context.scratch)
    with context.start("--firmware", rom, "--net", "none", "--machine", "q35", qemu=["-M", "q35", "-bios", rom]) as vmm:
        vmm.expect(r"U-Boot 20\d\d", "its name")
        vmm.expect(r"=> ", "its prompt")
        vmm.send("echo from u-boot\r")
        vmm.expect(r"^from u-boot", "what it echoes")


# -- other kernels --


def test_xen(context):
    """Xen with Debian's kernel as a paravirtual dom0: to its user programs."""
    xen = packed("xen-hypervisor-4.17-amd64", "boot/xen-4.17-amd64.gz", context.scratch / "xen.gz")
    init = HERE / "xen-init"
    image = context.cd("multiboot2 /boot/xen.gz console=com1 com1=115200,8n1 dom0_mem=384M sync_console\n"
                       "module2 /boot/vmlinuz console=hvc0 earlyprintk=xen\nmodule2 /boot/initrd",
                       **{"xen.gz": xen, "vmlinuz": context.image("kernel", "--flavour", "generic"),
                          "initrd": context.image("initramfs", "--flavour", "generic", "--init", init)})
    with context.start_cd(image, memory="768M", cpus=2, timeout_s=2 * TIMEOUT_S) as vmm:
        vmm.expect(r"Xen version 4\.17", "its name")
        vmm.expect(r"Dom0 has maximum", "dom0's making")
        vmm.expect(r"=== dom0", "dom0's init")
        vmm.expect(r"hypervisor xen", "what dom0 says it runs on")
        vmm.expect(r"=== end", "the end of init")
        require(vmm.wait(120) == 0, "the exit status is not 0")


def test_mach(context):
    """GNU Mach, to a first task that is given memory, works in it, and calls the kernel."""
    kernel = packed("gnumach-image-1.8-486", "boot/gnumach-1.8-486.gz", context.scratch)
    task = context.scratch / "first"
    output("gcc", "-m32", "-nostdlib", "-static", "-no-pie", "-o", task, HERE / "mach.S")
    image = context.cd("multiboot /boot/gnumach.gz root=none console=com0\n"
                       "module /boot/first first '$(task-create)' '$(task-resume)'", **{"gnumach.gz": kernel, "first": task})
    with context.start_cd(image, memory="256M") as vmm:
        vmm.expect(r"task loaded: first", "its first task")
        vmm.expect(r"start first:", "that one's start")
        # Mach task_self's number, and the sum (mach.S).
        vmm.expect(r"EAX ffffffe4 EBX ffe80000", "the registers with which that calls the kernel")


TESTS = [test_installer, test_installer_cd, test_cd_pc, test_cd_q35, test_cd_uefi, test_usb_bios, test_usb_uefi,
         test_memtest, test_ipxe, test_uefi_shell, test_u_boot, test_xen, test_mach]
