"""PCI functions, the balloon and the source of random numbers, the virtio console and its ports."""

import os
import re
import socket
import tempfile
import time
from pathlib import Path

from context import HERE, Skipped, VIRTIO_MODULES, finish, require, sections
from kernel import check_dmesg


def pci_functions(lines: list) -> dict:
    """{(vendor, device): (resources as [start, end, flags], configuration space)} of pci-init's
    listing."""
    functions, current = {}, None
    for line in lines:
        words = line.split()
        if words[:1] == ["function"]:
            current = functions[words[2], words[3]] = ([], bytearray())
        elif words[:1] == ["resource"]:
            current[0].append([int(word, 16) for word in words[1:]])
        elif words[:1] == ["config"]:
            current[1].extend(bytes.fromhex("".join(words[1:])))
    return functions


def pci_capabilities(config: bytearray) -> dict:
    """{id: offset} of a configuration space's list."""
    capabilities, at = {}, config[0x34]
    while at and config[at] not in capabilities:
        capabilities[config[at]] = at
        at = config[at + 1]
    return capabilities


def check_pci(facts: dict) -> None:
    functions = pci_functions(facts.get("functions", []))
    require(("0x1234", "0x4b56") in functions and ("0x1b36", "0x0005") in functions,
            f"/sys lists {sorted(functions)}")
    resources, config = functions["0x1234", "0x4b56"]
    # Flags of <linux/ioport.h>: I/O, memory, prefetchable, 64 bits.
    shapes = [(end - start + 1, flags & 0x100000 | flags & 0x2300)
              for start, end, flags in resources[:3]]
    require(shapes == [(0x20, 0x100), (0x2000, 0x200), (0x10000, 0x102200)],
            f"pci-exercise's BARs are {shapes}")
    starts = [resource[0] for resource in resources[:3]]
    require(all(starts), f"pci-exercise's BARs are at {starts}")
    capabilities = pci_capabilities(config)
    require(0x05 in capabilities and 0x09 in capabilities,
            f"pci-exercise has the capabilities {capabilities}")
    msix = config[capabilities.get(0x11, 0):]
    require(msix[:1] == b"\x11" and msix[2:12] == bytes([7, 0, 1, 0x10, 0, 0, 1, 0x18, 0, 0]),
            f"its MSI-X capability is {bytes(msix[:12]).hex()}")
    resources, _ = functions["0x1b36", "0x0005"]
    require(resources[2][1] - resources[2][0] + 1 == 8 << 30 and resources[2][0] >= 1 << 32,
            f"pci-testdev's 8 GiB are at {resources[2]}")


def test_pci(context):
    """PCI functions with their BARs and capabilities, as Linux lists them, on both boards."""
    if context.options.qemu:
        raise Skipped("the functions are kvik's")
    for board in "pc", "microvm":
        with context.start(memory="256M", append="quiet", init=HERE / "pci-init",
                           extra=["--machine", board, "--device", "pci-exercise", "--device",
                                  "pci-testdev,membar=8G"]) as vmm:
            context.vmm = vmm
            finish(vmm)
            facts = sections(vmm.text())
            check_pci(facts)
            check_dmesg(facts, False)


def test_button(context):
    """The power button as Linux hears of it, pressed twice: ACPI's fixed one of a pc, and a microvm's."""
    if context.options.qemu:
        raise Skipped("the keys are kvik's")
    for board in "pc", "microvm":
        with context.start(memory="256M", append="quiet", init=HERE / "button-init", modules=["button", "evdev"],
                           extra=["--machine", board]) as vmm:
            context.vmm = vmm
            for _ in range(2):
                vmm.expect(r"^=== waits", "the guest to listen")
                vmm.send("\x01p")
                for what in "pressed 1 116 1", "end 0 0 0", "released 1 116 0", "end 0 0 0":
                    vmm.expect(rf"^{what}\r", what)
            finish(vmm)
            check_dmesg(sections(vmm.text()), False)


def shared_kib(process: int) -> int:
    """What a process has of shared memory, which guests' RAM is."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"RssShmem:\s+(\d+) kB", status).group(1))


def test_balloon(context):
    """Memory that the guest frees is free on the host; and random numbers."""
    if context.options.qemu:
        raise Skipped("the devices are kvik's")
    with context.start(memory="256M", append="quiet", init=HERE / "balloon-init",
                       modules=[*VIRTIO_MODULES, "virtio_balloon", "virtio_rng"],
                       extra=["--device", "virtio-balloon", "--device", "virtio-rng,packed=1"]) as vmm:
        context.vmm = vmm
        vmm.expect(r"^=== filled", "the guest to fill its memory")
        filled = shared_kib(vmm.process.pid)
        vmm.expect(r"^=== removed", "the guest to free it")
        # Reports come some seconds late.
        deadline = time.monotonic() + 30
        while shared_kib(vmm.process.pid) > filled - (64 << 10):
            require(time.monotonic() < deadline,
                    f"{filled} KiB became {shared_kib(vmm.process.pid)}, not 64 MiB less")
            vmm.read(0.2)
        vmm.send("\n")
        finish(vmm)
        facts = sections(vmm.text())
        require(facts["random"][0].startswith("virtio_rng"), f"the source is {facts['random']}")
        require(int(facts["random"][1]) > 20000, f"random numbers shrink to {facts['random'][1]} bytes")
        check_dmesg(facts, False)


def test_console(context):
    """The virtio console on the terminal, one port on a socket and one in a file."""
    if context.options.qemu:
        raise Skipped("the devices are kvik's")
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        path, log = os.path.join(directory, "socket"), Path(directory) / "log"
        listener.bind(path)
        listener.listen()
        listener.settimeout(60)
        with context.start(memory="256M", cpus=2, append="quiet", init=HERE / "console-init",
                           modules=[*VIRTIO_MODULES, "virtio_console"],
                           extra=["--port", f"echo=unix={path}", "--console", "stdio",
                                  "--port", f"log=file={log}"]) as vmm:
            context.vmm = vmm
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(60)
                vmm.expect(r"^ports /dev/vport0p1 /dev/vport0p2", "the names of the ports")
                vmm.send("typed\n")
                vmm.expect(r"^read: typed", "what was typed")
                for n, line in enumerate(("one", "y" * 3000, "three")):
                    peer.sendall(line.encode() + b"\n")
                    wanted, said = f"echo {n}: {line}\n".encode(), b""
                    while len(said) < len(wanted) and (data := peer.recv(4096)):
                        said += data
                    require(said == wanted, f"the port said {said[:60]}")
                finish(vmm)
        require(log.read_bytes() == b"to the log\n" + b"x" * 300000,
                f"the log has {len(log.read_bytes())} bytes")
        check_dmesg(sections(vmm.text()), False)


QUICK = [test_pci, test_button, test_balloon, test_console]
LONG = []
