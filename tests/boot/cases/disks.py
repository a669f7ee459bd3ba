"""Disks and CD-ROM drives behind each controller, also saved and loaded while the guest writes."""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from context import HERE, Skipped, TIMEOUT_S, VIRTIO_MODULES, finish, require, sections
from kernel import check_dmesg
from vmm import Vmm


def make_ext4(path: Path, size: str) -> None:
    """A file system with a file of random bytes and its checksum."""
    with tempfile.TemporaryDirectory() as tree:
        data = os.urandom(3 << 20)
        (Path(tree) / "data").write_bytes(data)
        (Path(tree) / "sums").write_text(f"{hashlib.sha256(data).hexdigest()}  data\n")
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, str(path), size], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})


def check_ext4(path: Path) -> None:
    result = subprocess.run(["e2fsck", "-f", "-n", str(path)], check=False, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT,
                            env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
    require(result.returncode == 0, f"e2fsck says {result.stdout.decode()[-300:]}")


def check_disk_work(vmm: Vmm, cpus: int) -> None:
    facts = sections("=== begin\n" + vmm.text())
    said = facts["begin"]
    bad = [line for line in said if "differs" in line or "FAILED" in line or "did NOT match" in line]
    require(not bad, f"the guest found {bad[:3]}")
    require(any(re.match(r"files \d+$", line) for line in said), f"the guest said {said[-5:]}")
    check_dmesg(facts, False)


@contextlib.contextmanager
def nbd_served(disk: Path):
    """The name of the export in which qemu-nbd has a raw disk."""
    path = Path(f"{disk}.socket")
    server = subprocess.Popen(["qemu-nbd", "-t", "-e", "2", "-f", "raw", "--discard=unmap", "-k", str(path), str(disk)])
    try:
        for _ in range(200):
            if path.exists():
                break
            time.sleep(0.05)
        yield f"nbd+unix:///?socket={path}"
    finally:
        server.terminate()
        server.wait()


def disk_boot(context, board: str, cpus: int, saves: int, rounds: int, append="", serve=contextlib.nullcontext) -> None:
    if context.options.qemu:
        raise Skipped("the disks are kvik's")
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as servers:
        ext4, raw = Path(directory) / "ext4", Path(directory) / "raw,1"
        make_ext4(ext4, "96M")
        raw.write_bytes(bytes(16 << 20))
        saved = os.path.join(directory, "machine")
        first, second = (str(servers.enter_context(serve(disk))).replace(",", ",,") for disk in (ext4, raw))
        options = ["--machine", board, "--disk", f"{first},format=raw,serial=first,discard",
                   "--disk", f"{second},format=raw,packed,cache=writethrough",
                   "--save", saved, "--end-when-saved"]
        for load in range(saves + 1):
            with context.start(memory="256M", cpus=cpus, append=f"{append} quiet test.rounds={rounds}",
                               init=HERE / "disk-init", modules=[*VIRTIO_MODULES, "virtio_blk"],
                               extra=[*options, *(["--load", saved] if load else [])]) as vmm:
                context.vmm = vmm
                if load == 0:
                    vmm.expect(r"^=== begin", "the begin of work")
                    disks = sections(vmm.text())["disks"]
                    wanted = [f"vda size 196608 serial first ro 0 cache write back queues {cpus} "
                              "discard 4096",
                              f"vdb size 32768 serial  ro 0 cache write through queues {cpus} "
                              "discard 0"]
                    require(disks == wanted, f"the disks are {disks}")
                if load == saves:
                    if saves:
                        time.sleep(0.5)
                        vmm.send("\n")
                    finish(vmm)
                    check_disk_work(vmm, cpus)
                    break
                time.sleep(0.4 + 0.2 * load)
                vmm.signal(signal.SIGUSR1)
                status = vmm.wait()
                require(status == 0, f"exit status {status} after saving, not 0")
                require(b"=== end" not in vmm.log, f"its work was over after {load} loads")
        check_ext4(ext4)


def test_disk(context):
    """Two disks, with an ext4 and raw, split rings and packed: what is written is there."""
    disk_boot(context, "pc", 1, 0, 10)


def test_disk_saved(context):
    """The same with two CPUs, saved and loaded while it writes."""
    disk_boot(context, "pc", 2, 3, 300)


def test_disk_legacy(context):
    """The same by the legacy interface of virtio 0.9.5."""
    disk_boot(context, "pc", 2, 2, 300, "test.legacy")


def test_disk_fio(context):
    """The host's fio, from a share, writes to a qcow2 disk and verifies what it wrote; the image is sound."""
    if context.options.qemu:
        raise Skipped("the share is kvik's")
    if not Path("/usr/bin/fio").exists() or not Path("/lib").is_symlink():
        raise Skipped("fio is not installed (Debian: fio), or not with all that it needs below /usr")
    kvik = context.options.kvik
    with tempfile.TemporaryDirectory() as directory:
        disk = Path(directory) / "disk.qcow2"
        subprocess.run([kvik, "image", "create", "-q", "-o", "cluster_size=16k", disk, "32M"], check=True)
        with context.start(memory="512M", cpus=2, append="quiet", init=HERE / "fio-init",
                           modules=[*VIRTIO_MODULES, "virtio_blk", "fuse", "virtiofs"],
                           extra=["--disk", f"{disk}", "--share", "/usr,tag=usr"]) as vmm:
            context.vmm = vmm
            finish(vmm)
            facts = sections(vmm.text())
            said = "\n".join(facts["fio"])
            require("status 0" in said and "err= 0" in said, f"fio said {said[-600:]}")
            check_dmesg(facts, False)
        check = subprocess.run([kvik, "image", "check", disk], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        require(check.returncode == 0, f"the check says {check.stdout.decode()[-300:]}")


def test_disk_nbd(context):
    """The same, saved and loaded, with disks that qemu-nbd has."""
    if not shutil.which("qemu-nbd"):
        raise Skipped("qemu-nbd is not installed")
    disk_boot(context, "pc", 2, 1, 20, serve=nbd_served)


ATA_MODULES = ["scsi_common", "scsi_mod", "libata", "ata_piix", "sd_mod", "cdrom", "sr_mod", "isofs"]


def make_cd(directory: Path) -> Path:
    """An ISO 9660 image of 20 MB."""
    tree, image = directory / "tree", directory / "cd.iso"
    tree.mkdir()
    data = os.urandom(10 << 20)
    for name in ("data", "same"):
        (tree / name).write_bytes(data)
    (tree / "sums").write_text(f"{hashlib.sha256(data).hexdigest()}  data\n")
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", str(image), str(tree)],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return image


def storage_boot(context, bus: str, modules, wanted, saves=0, rounds=10, cpus=1, cd_bus=None, append="",
                 models=("QEMU HARDDISK", "QEMU DVD-ROM"), flavour="cloud") -> None:
    """An ext4, a raw disk and a CD behind controllers, worked on as test_disk's are."""
    if context.options.qemu:
        raise Skipped("the disks are kvik's")
    if not shutil.which("xorriso"):
        raise Skipped("xorriso is not installed")
    with tempfile.TemporaryDirectory() as directory:
        ext4, raw, tray = (Path(directory) / name for name in ("ext4", "raw", "tray"))
        make_ext4(ext4, "96M")
        raw.write_bytes(bytes(16 << 20))
        compiled = subprocess.run(["cc", "-static", "-O1", "-o", tray, HERE / "tray.c"], check=False)
        require(compiled.returncode == 0, "cannot compile tests/boot/tray.c")
        saved = os.path.join(directory, "machine")
        options = ["--disk", f"{ext4},format=raw,serial=first,discard,bus={bus}",
                   "--disk", f"{raw},format=raw,bus={bus},cache=writethrough",
                   "--save", saved, "--end-when-saved"]
        append = f"{append} quiet test.rounds={rounds} test.modules={','.join(modules)} test.ext4=196608 test.raw=32768"
        sizes = [f"size 196608 ro 0 model {models[0]} cache write back",
                 f"size 32768 ro 0 model {models[0]} cache write through"]
        if cd_bus:
            image = make_cd(Path(directory))
            sectors = image.stat().st_size // 512
            options += ["--cdrom", f"{image},bus={cd_bus}"]
            append += f" test.cd={sectors}"
            sizes.append(f"size {sectors} ro 1 model {models[1]} cache write through")
        for load in range(saves + 1):
            with context.start(memory="256M", cpus=cpus, append=append, init=HERE / "storage-init",
                               modules=modules, added=[f"{tray}=bin/tray"], flavour=flavour,
                               extra=[*options, *(["--load", saved] if load else [])]) as vmm:
                context.vmm = vmm
                if load == 0:
                    vmm.expect(r"^=== begin", "the begin of work")
                    parts = sections(vmm.text())
                    require(parts["disks"] == sizes, f"the disks are {parts['disks']}")
                    if cd_bus:
                        require(parts["cd"] == ["data: OK", "ejected", "closed"],
                                f"of the CD: {parts['cd']}")
                if load == saves:
                    if saves:
                        time.sleep(0.5)
                        vmm.send("\n")
                    finish(vmm)
                    check_disk_work(vmm, cpus)
                    for text in wanted:
                        require(saves or text in vmm.text(), f"the kernel does not say '{text}'")
                    break
                time.sleep(1 + 0.2 * load)
                vmm.signal(signal.SIGUSR1)
                status = vmm.wait()
                require(status == 0, f"exit status {status} after saving, not 0")
                require(b"=== end" not in vmm.log, f"its work was over after {load} loads")
        check_ext4(ext4)


def test_ide(context):
    """Disks and a CD-ROM drive by IDE and bus-master DMA: Linux's ata_piix, the tray."""
    storage_boot(context, "ide", ATA_MODULES, ["UDMA/100", "ATAPI"], cd_bus="ide")


def test_ide_saved(context):
    """The same with two CPUs, saved and loaded while it writes."""
    storage_boot(context, "ide", ATA_MODULES, [], saves=2, rounds=300, cpus=2)


def test_ide_pio(context):
    """Without DMA: a sector, and several, an interrupt."""
    storage_boot(context, "ide", ATA_MODULES, [], cd_bus="ide", rounds=3, append="test.libata=dma=0")


SCSI_MODULES = ["scsi_common", "scsi_mod", *VIRTIO_MODULES, "virtio_scsi", "sd_mod", "cdrom", "sr_mod", "isofs"]


def test_scsi(context):
    """Disks and a CD-ROM drive behind virtio-scsi."""
    storage_boot(context, "scsi", SCSI_MODULES, [], cd_bus="scsi", cpus=2,
                 models=("QEMU HARDDISK", "QEMU CD-ROM"))


def test_scsi_saved(context):
    """The same, saved and loaded while it writes."""
    storage_boot(context, "scsi", SCSI_MODULES, [], saves=2, rounds=300, cpus=2)


AHCI_MODULES = ["scsi_common", "scsi_mod", "libata", "libahci", "ahci", "crct10dif_common", "crc_t10dif",
                "crc64", "crc64_rocksoft", "t10_pi", "sd_mod", "cdrom", "sr_mod", "isofs", "crc16", "mbcache", "jbd2",
                "crc32c_generic", "ext4"]


def test_ahci(context):
    """Disks with native queues and a CD-ROM drive behind an AHCI controller, with the kernel that has a driver."""
    storage_boot(context, "ahci", AHCI_MODULES, ["NCQ (depth 32)", "ATAPI"], cd_bus="ahci", cpus=2,
                 flavour="generic")


def test_ahci_saved(context):
    """The same, saved and loaded while it writes."""
    storage_boot(context, "ahci", AHCI_MODULES, [], saves=2, rounds=300, cpus=2, flavour="generic")


def test_nvme(context):
    """NVMe disks, of which the kernel has the driver built in."""
    storage_boot(context, "nvme", [], [], cpus=2, models=("QEMU NVMe Ctrl", ""))


def test_nvme_saved(context):
    """The same, saved and loaded while it writes."""
    storage_boot(context, "nvme", [], [], saves=2, rounds=300, cpus=2, models=("QEMU NVMe Ctrl", ""))


USB_MODULES = ["scsi_common", "scsi_mod", "usb_common", "usbcore", "xhci_hcd", "xhci_pci", "usb_storage",
               *[name for name in AHCI_MODULES if name not in ("libata", "libahci", "ahci", "scsi_common", "scsi_mod")]]


def test_usb(context):
    """Disks and a CD-ROM drive by USB, with the kernel that has a driver."""
    storage_boot(context, "usb", USB_MODULES, ["USB Mass Storage"], cd_bus="usb", cpus=2, flavour="generic",
                 models=("QEMU HARDDISK", "QEMU CD-ROM"))


def test_usb_saved(context):
    """The same, saved and loaded while it writes."""
    storage_boot(context, "usb", USB_MODULES, [], saves=2, rounds=300, cpus=2, flavour="generic")


def test_cd_boot(context):
    """A CD that grub-mkrescue makes boots by SeaBIOS: GRUB, and a kernel from it."""
    if context.options.qemu:
        raise Skipped("the CD is kvik's")
    if not shutil.which("grub-mkrescue") or not shutil.which("mcopy"):
        raise Skipped("grub-mkrescue or mtools is not installed")
    with tempfile.TemporaryDirectory() as directory:
        tree, image = Path(directory) / "tree", Path(directory) / "cd.img"
        (tree / "boot/grub").mkdir(parents=True)
        shutil.copy(context.image("kernel"), tree / "boot/vmlinuz")
        shutil.copy(context.image("initramfs", "--init", str(HERE / "facts-init")), tree / "boot/initrd")
        (tree / "boot/grub/grub.cfg").write_text(
            "serial --unit=0\nterminal_input serial\nterminal_output serial\n"
            "linux /boot/vmlinuz console=ttyS0 quiet\ninitrd /boot/initrd\nboot\n")
        subprocess.run(["grub-mkrescue", "-o", str(image), str(tree)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # By its content, whatever it is called.
        with Vmm([context.options.kvik, "run", "--accel", context.options.accel, str(image), "--cpus", "1",
                  "--memory", "512M", "--net", "none"], TIMEOUT_S) as vmm:
            context.vmm = vmm
            vmm.expect(r"Booting from DVD/CD", "SeaBIOS at the CD")
            finish(vmm)


QUICK = [test_disk, test_disk_fio, test_disk_saved, test_disk_legacy, test_disk_nbd, test_ide, test_ide_saved, test_ide_pio,
         test_cd_boot, test_scsi, test_scsi_saved, test_nvme, test_nvme_saved]
LONG = [test_ahci, test_ahci_saved, test_usb, test_usb_saved]
