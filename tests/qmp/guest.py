"""A Linux guest of kvik-system-x86_64 that does what it is told by its second serial port, and its monitors."""

import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from client import PATIENCE_S, Connection, Failed, Machine, Qmp  # noqa: E402


def need(holds, text):
    if not holds:
        raise Failed(text)


def connect(path):
    stream = socket.socket(socket.AF_UNIX)
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            stream.connect(str(path))
            return Connection(stream)
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > end:
                raise Failed(f"nobody listens on {path}") from None
            time.sleep(0.01)


def multiboot(path, code):
    """A kernel of a few bytes of 32-bit code, which begin at 100020h."""
    load = 0x100000
    fields = b"".join(value.to_bytes(4, "little") for value in (load, load, 0, 0, load + 32))
    path.write_bytes(bytes.fromhex("02b0ad1b" "00000100" "fe4f51e4") + fields + code)
    return str(path)


class Context:
    def __init__(self, program, scratch):
        self.program, self.scratch, self.machine = program, Path(scratch), None

    def image(self, name, blocks, block=2048):
        (self.scratch / name).write_bytes(name.encode().ljust(block, b"\0") + bytes(block * (blocks - 1)))

    def path(self, name):
        return str(self.scratch / name)

    def start(self, *arguments):
        # A process of one that has ended may still hold its sockets.
        for name in ("qmp", "hmp"):
            (self.scratch / name).unlink(missing_ok=True)
        self.machine = Machine(self.program, [
            "-display", "none", "-net", "none", "-qmp", f"unix:{self.path('qmp')},server=on,wait=off", "-monitor",
            f"unix:{self.path('hmp')},server=on,wait=off", *arguments])
        qmp = Qmp(self.scratch / "qmp")
        qmp.ask("qmp_capabilities")
        hmp = connect(self.path("hmp"))
        hmp.expect("(qemu) ")
        self.hmp = hmp
        return qmp, hmp

    def explain(self):
        """Prints where the machine stands that was started last, for who reads of a failure."""
        try:
            for line in ("info status", "info registers"):
                print(human(self.hmp, line))
            print(Path(self.path("log")).read_text(errors="replace")[-2000:], flush=True)
        except (Failed, OSError, AttributeError) as problem:
            print(f"(nothing more is known: {problem})", flush=True)


def human(hmp, line):
    hmp.say(line + "\n")
    hmp.expect("\r\n")
    return hmp.expect("(qemu) ")


def guest_image(*words):
    result = subprocess.run([str(HERE.parent.parent / "tools/guest-image"), *words], stdout=subprocess.PIPE, check=True)
    return result.stdout.decode().strip()


class Guest:
    """Linux that does what it is told by its second serial port."""

    LINE = "ttyS1"

    def __init__(self, context, modules, *arguments, flavour="cloud", is_running=False, memory="256"):
        tray = context.path("tray")
        subprocess.run(["cc", "-static", "-O1", "-o", tray, HERE.parent / "boot/tray.c"], check=True)
        words = [word for name in modules for word in ("--module", name)]
        initrd = guest_image("initramfs", "--flavour", flavour, "--init", str(HERE / "serial-init"), "--add",
                             f"{tray}=bin/tray", *words)
        self.arguments = [
            "-accel", "tcg", "-m", memory, "-kernel", guest_image("kernel", "--flavour", flavour), "-initrd", initrd,
            "-append", f"console=ttyS0 quiet test.serial={self.LINE} test.modules={','.join(modules)}", *arguments]
        self.qmp, self.hmp = context.start(*self.serials(context), *self.arguments)
        self.line = connect(context.path("serial"))
        if not is_running:
            self.line.expect("=== ready")

    @staticmethod
    def serials(context):
        return ["-serial", "file:" + context.path("log"), "-serial",
                f"unix:{context.path('serial')},server=on,wait=off"]

    def reconnect(self, context):
        """Its line again, of another process."""
        self.line = connect(context.path("serial"))

    def do(self, command):
        self.line.say(command + "\n")
        said = self.line.expect("=== done ")
        return said.strip("\r\n "), int(self.line.expect("\n"))
