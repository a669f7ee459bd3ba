"""The network in user space, by each card, and booting from it."""

import hashlib
import http.server
import os
import shutil
import socket
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from context import HERE, Skipped, TIMEOUT_S, VIRTIO_MODULES, finish, require, sections
from kernel import check_dmesg
from vmm import Failed, Vmm
from cases.disks import disk_boot


class Peer:
    """The host's side of the network tests: a web server and, one port higher, a taker of bytes."""

    def __init__(self):
        self.files = [os.urandom(size) for size in (1, 1447, 100000, 1 << 20, 4 << 20)]
        self.taken = b""
        peer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                data = peer.files[int(self.path.rsplit("-", 1)[1])]
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        while True:
            self.web = http.server.HTTPServer(("127.0.0.1", 0), Handler)
            self.port = self.web.server_port
            self.taker = socket.socket()
            try:
                self.taker.bind(("127.0.0.1", self.port + 1))
                break
            except OSError:
                self.web.server_close()
        self.taker.listen()
        self.threads = [threading.Thread(target=self.web.serve_forever, daemon=True),
                        threading.Thread(target=self.take, daemon=True)]
        for thread in self.threads:
            thread.start()

    def take(self):
        connection, _ = self.taker.accept()
        with connection:
            while data := connection.recv(65536):
                self.taken += data

    def close(self):
        self.web.shutdown()
        self.web.server_close()
        self.taker.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(address: str) -> bytes:
    """What a server says that is about to be there."""
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(address, timeout=10) as page:
                return page.read()
        except OSError as error:
            if time.monotonic() > deadline:
                raise Failed(f"the guest's server does not answer: {error}") from None
            time.sleep(0.2)


# What a card's driver needs, in the order of loading.
CARD_MODULES = {
    "": [*VIRTIO_MODULES, "failover", "net_failover", "virtio_net"],
    "e1000": ["e1000"],
    "e1000e": ["e1000e"],
}


def net_boot(context, board: str, cpus: int, extra_net: str = "", card="", append="") -> None:
    if context.options.qemu:
        raise Skipped("the network is kvik's")
    peer, forwarded = Peer(), free_port()
    try:
        with context.start(memory="256M", cpus=cpus,
                           append=f"{append} quiet test.port={peer.port}{f' test.card={card}' if card else ''}",
                           init=HERE / "net-init", flavour="generic" if card else "cloud",
                           modules=CARD_MODULES[card],
                           extra=["--machine", board, "--net",
                                  f"user,forward=tcp:{forwarded}:8080,mac=52:54:00:ab:cd:ef"
                                  + extra_net]) as vmm:
            context.vmm = vmm
            vmm.expect(r"^=== serving", "the guest to serve")
            said = ask(f"http://127.0.0.1:{forwarded}/page")
            require(said == b"from the guest\n", f"the guest's server said {said}")
            finish(vmm)
            facts = sections(vmm.text())
        require(facts["network"] == ["address 52:54:00:ab:cd:ef",
                                     "lease 10.0.2.15 of 10.0.2.2, names by 10.0.2.3"],
                f"the guest's network is {facts['network']}")
        wanted = [f"fetched {n} {hashlib.sha256(data).hexdigest()}"
                  for n, data in enumerate(peer.files)]
        require(facts["begin"][:5] == wanted, f"the guest {facts['begin'][:5]}")
        require(facts["begin"][5] == f"sent {hashlib.sha256(peer.taken).hexdigest()}",
                f"{len(peer.taken)} bytes came, and the guest {facts['begin'][5:]}")
        if card == "e1000e":
            require(facts["begin"][6:] == ["vectors 3", f"jumbo {hashlib.sha256(peer.files[4]).hexdigest()}"],
                    f"the guest {facts['begin'][6:]}")
        check_dmesg(facts, False)
    finally:
        peer.close()


def test_net(context):
    """A network in user space: DHCP, files fetched and sent, a port forwarded to the guest."""
    net_boot(context, "pc", 1)


def test_net_packed(context):
    """The same with two CPUs and packed rings."""
    net_boot(context, "pc", 2, ",packed")


def test_net_legacy(context):
    """The same by the legacy interface of virtio 0.9.5."""
    net_boot(context, "pc", 2, append="test.legacy")


def test_net_e1000(context):
    """The same with two CPUs by an e1000, whose driver leaves segments and checksums to it."""
    net_boot(context, "pc", 2, ",model=e1000", card="e1000")


def test_net_e1000e(context):
    """The same by an e1000e on a q35, with MSI-X, and with a packet's buffers split."""
    net_boot(context, "q35", 2, ",model=e1000e", card="e1000e")


def test_net_e1000e_pc(context):
    """The same on a pc, with one CPU."""
    net_boot(context, "pc", 1, ",model=e1000e", card="e1000e")


def network_folder(folder: Path, context) -> None:
    """What guests boot from: Debian's kernel with a busybox, by a script of iPXE's or by PXELINUX."""
    shutil.copy(context.image("kernel"), folder / "vmlinuz")
    shutil.copy(context.image("initramfs", "--init", str(HERE / "facts-init")), folder / "initrd")
    (folder / "script.ipxe").write_text(
        "#!ipxe\nkernel vmlinuz initrd=initrd console=ttyS0 quiet test.by=ipxe\ninitrd initrd\nboot\n")
    (folder / "pxelinux.cfg").mkdir()
    (folder / "pxelinux.cfg/default").write_text(
        "serial 0 115200\ndefault linux\nprompt 0\nlabel linux\n kernel vmlinuz\n"
        " append initrd=initrd console=ttyS0 quiet test.by=pxelinux\n")
    for name in "/usr/lib/PXELINUX/pxelinux.0", "/usr/lib/syslinux/modules/bios/ldlinux.c32":
        if Path(name).exists():
            shutil.copy(name, folder)


def network_boot_as(context, command, by: str) -> None:
    with Vmm(command, TIMEOUT_S) as vmm:
        context.vmm = vmm
        vmm.expect(r"Open Source Network Boot Firmware", "iPXE")
        finish(vmm)
        require(f"test.by={by}" in vmm.text(), f"the kernel was not booted by {by}")


def network_boot(context, *extra: str, net="", by="ipxe", file="script.ipxe") -> None:
    if context.options.qemu:
        raise Skipped("the network is kvik's")
    if not Path("/usr/lib/ipxe/qemu/efi-virtio.rom").exists():
        raise Skipped("ipxe-qemu is not installed")
    with tempfile.TemporaryDirectory() as directory:
        network_folder(Path(directory), context)
        if not (Path(directory) / file).exists():
            raise Skipped("pxelinux is not installed")
        network_boot_as(context, [context.options.kvik, "run", "--accel", context.options.accel, "--cpus", "1",
                                  "--memory", "512M", *extra, "--net",
                                  f"user,tftp={directory},bootfile={file}{net}"], by)


def test_network_boot(context):
    """A PC without disks boots a kernel by TFTP: SeaBIOS, iPXE's ROM of a virtio card, a script of iPXE's."""
    network_boot(context)


def test_network_boot_pxelinux(context):
    """The same with an e1000 and PXELINUX, which calls iPXE's PXE services."""
    network_boot(context, net=",model=e1000", by="pxelinux", file="pxelinux.0")


def test_network_boot_e1000e(context):
    """The same on a q35 by an e1000e and its ROM."""
    network_boot(context, "--machine", "q35", net=",model=e1000e")


def test_network_boot_e1000e_uefi(context):
    """The same by OVMF."""
    if not Path("/usr/share/OVMF/OVMF_CODE_4M.fd").exists():
        raise Skipped("ovmf is not installed")
    network_boot(context, "--machine", "q35", "--firmware", "uefi", net=",model=e1000e,boot=0")


def test_network_boot_uefi(context):
    """The same by OVMF, which runs the ROM's image for UEFI."""
    if not Path("/usr/share/OVMF/OVMF_CODE_4M.fd").exists():
        raise Skipped("ovmf is not installed")
    network_boot(context, "--firmware", "uefi", net=",model=e1000,boot=0")


def test_microvm(context):
    """Disks, saved and loaded while it writes, and network on a microvm: by MMIO."""
    disk_boot(context, "microvm", 2, 1, 300)
    net_boot(context, "microvm", 1)


QUICK = [test_net, test_net_packed, test_net_legacy, test_net_e1000, test_net_e1000e, test_net_e1000e_pc,
         test_network_boot, test_network_boot_pxelinux,
         test_network_boot_uefi, test_network_boot_e1000e,
         test_network_boot_e1000e_uefi, test_microvm]
LONG = []
