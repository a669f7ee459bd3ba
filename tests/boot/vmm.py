"""Starts a VMM on a pseudo-terminal, as a person would, and reads and types at its console."""

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time


class Failed(Exception):
    """A test's expectation that did not hold; the text says which."""


class Vmm:
    """One running VMM. `log` is all that it printed; reading goes on from where it was left."""

    def __init__(self, command, timeout_s: float):
        self.command = command
        self.deadline = time.monotonic() + timeout_s
        self.log = b""
        self.arrivals = []  # (length of log, time) of each read
        self.position = 0
        self.master, slave = pty.openpty()
        self.slave = slave
        self.before = termios.tcgetattr(slave)
        # The terminal is its controlling one, with it in the foreground, as under a shell.
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.slave)
        os.close(self.master)

    def read(self, wait_s: float) -> bool:
        """Takes in what has arrived within wait_s; False when nothing did."""
        if not select.select([self.master], [], [], wait_s)[0]:
            return False
        data = os.read(self.master, 65536)
        self.log += data
        self.arrivals.append((len(self.log), time.monotonic()))
        return True

    def arrival(self, position: int) -> float:
        """When the byte at `position` of the log arrived."""
        return next(when for length, when in self.arrivals if length > position)

    def expect(self, pattern: str, what: str = "") -> re.Match:
        """Waits until `pattern` matches what came after the last match."""
        compiled = re.compile(pattern.encode(), re.MULTILINE)
        while True:
            match = compiled.search(self.log, self.position)
            if match:
                self.position = match.end()
                return match
            panic = re.search(rb"Kernel panic[^\r\n]*", self.log[self.position:])
            if panic:
                raise Failed(f"while waiting for {what or pattern}: {panic.group().decode()}")
            if self.process.poll() is not None and not self.read(0.2):
                raise Failed(f"ended with status {self.process.returncode} "
                             f"while waiting for {what or pattern}")
            if time.monotonic() > self.deadline:
                raise Failed(f"timeout while waiting for {what or pattern}")
            self.read(0.2)

    def send(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait(self, limit_s: float = 30) -> int:
        """Waits for the VMM to end by itself; its exit status (negative: the signal)."""
        end = min(time.monotonic() + limit_s, max(self.deadline, time.monotonic() + 5))
        while self.process.poll() is None:
            if time.monotonic() > end:
                raise Failed("did not end")
            self.read(0.1)
        while self.read(0.05):
            pass
        return self.process.returncode

    def wait_raw(self) -> None:
        """Waits until the VMM has put the terminal into raw mode."""
        while termios.tcgetattr(self.slave)[3] & termios.ICANON:
            if self.process.poll() is not None:
                raise Failed(f"ended with status {self.process.returncode} before it used the terminal")
            if time.monotonic() > self.deadline:
                raise Failed("never put the terminal into raw mode")
            self.read(0.02)

    def check_terminal_restored(self) -> None:
        if termios.tcgetattr(self.slave) != self.before:
            raise Failed("the terminal was not restored")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def text(self) -> str:
        return re.sub(r"\r+\n", "\n", self.log.decode(errors="replace"))
