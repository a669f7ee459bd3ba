"""Sockets between programs of the guest and of the host."""

import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from context import HERE, Skipped, TIMEOUT_S, VIRTIO_MODULES, require, sections
from kernel import check_dmesg
from vmm import Failed


def vsock_echo(path: str, port: int, data: bytes) -> bytes:
    """What a port of the guest's says to `data`, with "OK" and a line's end cut off."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(120)
        peer.connect(path)
        peer.sendall(f"CONNECT {port}\n".encode())
        sender = threading.Thread(target=lambda: (peer.sendall(data), peer.shutdown(socket.SHUT_WR)))
        said = peer.recv(1)
        if not said:
            return b""
        while not said.endswith(b"\n"):
            said += peer.recv(1)
        require(re.fullmatch(rb"OK \d+\n", said), f"the guest's socket says {said[:40]}")
        sender.start()
        said = b""
        while part := peer.recv(1 << 20):
            said += part
        sender.join()
        return said


def wait_for_vsock(path: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if vsock_echo(path, 1000, b"there?") == b"there?":
                return
        except (FileNotFoundError, ConnectionRefusedError):
            pass  # kvik has not made the socket yet, or the guest has no server yet
        time.sleep(0.2)
    raise Failed("nobody answers at the guest's socket")


def vsock_serve(listener: socket.socket) -> None:
    """An echo for the guest's connections, until the socket is closed."""
    while True:
        try:
            peer, _ = listener.accept()
        except OSError:
            return
        with peer:
            while data := peer.recv(30000):
                peer.sendall(data)


def check_vsock(path: str) -> None:
    require(vsock_echo(path, 1000, b"") == b"", "nothing became something")
    threads, wrong = [], []
    for number in range(8):
        data = os.urandom(1000003 * (number % 3) + number)
        threads.append(threading.Thread(target=lambda data=data: wrong.append(1)
                                        if vsock_echo(path, 1000, data) != data else None))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    require(not wrong, "the guest's echo is another")
    require(vsock_echo(path, 999, b"x") == b"", "a port that nobody has answered")
    for words in (b"CONNECT x\n", b"GET / HTTP/1.1\r\n", b"y" * 40):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(60)
            peer.connect(path)
            peer.sendall(words)
            try:
                require(peer.recv(1) == b"", f"{words} was answered")
            except ConnectionResetError:
                pass


def vsock_boot(context, board: str) -> None:
    if context.options.qemu:
        raise Skipped("the sockets are kvik's")
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        program, path = Path(directory) / "vsock", os.path.join(directory, "guest")
        compiled = subprocess.run(["cc", "-static", "-O1", "-o", program, HERE / "vsock.c"], check=False)
        require(compiled.returncode == 0, "cannot compile tests/boot/vsock.c")
        listener.bind(f"{path}_2000")
        listener.listen()
        server = threading.Thread(target=vsock_serve, args=[listener], daemon=True)
        server.start()
        start = {"memory": "256M", "cpus": 2, "append": "quiet", "init": HERE / "vsock-init",
                 "modules": [*VIRTIO_MODULES, "vsock", "vmw_vsock_virtio_transport_common",
                             "vmw_vsock_virtio_transport"],
                 "added": [f"{program}=vsock"]}
        options = ["--machine", board, "--vsock", f"{path},cid=77"]
        saved = Path(directory) / "saved"
        with context.start(**start, extra=[*options, "--save", saved, "--end-when-saved"]) as vmm:
            context.vmm = vmm
            vmm.expect(r"^echo on 1000", "the guest's server")
            vmm.expect(r"^=== the same came back", "what the guest sent")
            vmm.expect(r"^vsock: connect: Connection reset by peer", "the end of what nobody takes")
            check_vsock(path)
            vmm.signal(signal.SIGUSR1)
            require(vmm.wait() == 0, "the machine was not saved")
        # The saved guest's server listens on, and its sockets work.
        with context.start(**start, extra=[*options, "--load", saved]) as vmm:
            context.vmm = vmm
            wait_for_vsock(path)
            check_vsock(path)
            vmm.send("again\n")
            vmm.expect(r"^=== and again", "what the loaded guest sent")
            vmm.send("end\n")
            vmm.expect(r"^=== end", "the end of init")
            require(vmm.wait() == 0, "the guest did not end well")
            check_dmesg(sections(vmm.text()), False)


def test_vsock(context):
    """Sockets between programs of the guest and the host, both ways, and after loading."""
    vsock_boot(context, "pc")


def test_vsock_microvm(context):
    """The same on a microvm."""
    vsock_boot(context, "microvm")


QUICK = [test_vsock, test_vsock_microvm]
LONG = []
