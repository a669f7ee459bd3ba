"""A small QMP client for tests: kvik-system-x86_64 (or QEMU itself) with its sockets and its console."""

import fcntl
import json
import os
import pty
import select
import signal
import socket
import subprocess
import termios
import time

PATIENCE_S = float(os.environ.get("KVIK_TEST_PATIENCE", "1")) * 120


CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP, signal.SIGSYS)


class Failed(Exception):
    """Why a test failed, for a person."""


class Connection:
    """A stream on which text is waited for."""

    def __init__(self, stream):
        self.stream = stream
        self.text = b""

    def expect(self, wanted, what=None):
        """Read up to and with `wanted`; returns what came before it."""
        end = time.monotonic() + PATIENCE_S
        wanted = wanted.encode()
        while wanted not in self.text:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.stream], [], [], left)[0]:
                raise Failed(f"no {what or wanted!r}; there is {self.text[-500:]!r}")
            try:
                more = os.read(self.stream if isinstance(self.stream, int) else self.stream.fileno(), 65536)
            except OSError:
                more = b""
            if not more:
                raise Failed(f"the end came before {what or wanted!r}: {self.text[-500:]!r}")
            self.text += more
        before, self.text = self.text.split(wanted, 1)
        return before.decode(errors="replace")

    def say(self, text):
        os.write(self.stream if isinstance(self.stream, int) else self.stream.fileno(), text.encode())


class Qmp(Connection):
    def __init__(self, path):
        stream = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                stream.connect(str(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > end:
                    raise Failed(f"nobody listens on {path}") from None
                time.sleep(0.01)
        super().__init__(stream)
        self.events = []
        self.greeting = self.read("greeting")

    def read(self, what="an answer"):
        return json.loads(self.expect("\n", what))

    def send(self, text):
        self.stream.sendall(text.encode())

    def ask(self, command, **arguments):
        """What a command returns; events that come meanwhile are kept."""
        arguments = {name.replace("_", "-"): value for name, value in arguments.items()}
        return self.ask_as_is(command, arguments)

    def ask_as_is(self, command, arguments, descriptor=None):
        """With a descriptor: that goes along."""
        request = {"execute": command, "id": command}
        if arguments:
            request["arguments"] = arguments
        if descriptor is None:
            self.send(json.dumps(request))
        else:
            socket.send_fds(self.stream, [json.dumps(request).encode()], [descriptor])
        while "event" in (answer := self.read(f"answer to {command}")):
            self.events.append(answer)
        if "error" in answer:
            raise Failed(f"{command}: {answer['error']}")
        return answer["return"]

    def refusal(self, text):
        """The error that a text is answered with."""
        self.send(text)
        while "event" in (answer := self.read()):
            self.events.append(answer)
        if "error" not in answer:
            raise Failed(f"{text} was answered with {answer}")
        return answer["error"]

    def event(self, name):
        while True:
            for event in self.events:
                if event["event"] == name:
                    self.events.remove(event)
                    return event
            message = self.read(f"event {name}")
            if "event" not in message:
                raise Failed(f"{message} instead of an event")
            self.events.append(message)


def take_terminal():
    """Standard input becomes the new session's terminal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Machine:
    """A process with its console on pipes or on a terminal."""

    def __init__(self, program, arguments, terminal=False):
        self.terminal = None
        if terminal:
            self.terminal, other = pty.openpty()
            self.process = subprocess.Popen([program, *arguments], stdin=other, stdout=other, stderr=other,
                                            start_new_session=True, preexec_fn=take_terminal)
            os.close(other)
            self.console = Connection(self.terminal)
        else:
            self.process = subprocess.Popen([program, *arguments], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.console = Connection(self.process.stdout)

    def say(self, text):
        if self.terminal is not None:
            self.console.say(text)
        else:
            os.write(self.process.stdin.fileno(), text.encode())

    def wait(self):
        """Its exit status; whatever a test expects, no crash."""
        try:
            status = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise Failed("it does not end") from None
        if -status in CRASHES:
            raise Failed(f"it ended by {signal.Signals(-status).name}")
        return status

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.terminal is not None:
            os.close(self.terminal)
        else:
            for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
                stream.close()
