"""`kvik run -- COMMAND`: a command in a guest, as if it ran here."""

import fcntl
import os
import signal
import struct
import subprocess
import tempfile
import termios
from pathlib import Path

from context import ROOT, Skipped, TIMEOUT_S, require
from vmm import Vmm


def command_run(context, *command, options=(), stdin=b"", cwd=None, env=None):
    """`kvik run OPTIONS -- COMMAND` with pipes: its status, output and errors."""
    kvik = str(Path(context.options.kvik).resolve())
    result = subprocess.run([kvik, "run", "--accel", context.options.accel, *options,
                             "--", *command], input=stdin, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, timeout=TIMEOUT_S, cwd=cwd, env=env, check=False)
    return result.returncode, result.stdout, result.stderr


def test_command(context):
    """A command in a machine of its own: files, streams, status, and nothing left behind."""
    if context.options.qemu:
        raise Skipped("the command is kvik's")
    kernel = context.image("kernel")
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as directory:
        (Path(directory) / "kept").mkdir()
        (Path(directory) / "file").write_text("the host's\n")
        data = os.urandom(300000)
        status, out, errors = command_run(
            context, "sh", "-c", "pwd; cat file; echo mine >file; cat file; echo new >kept/new; sync; "
            "cat >kept/data; echo oops >&2; id -u; echo $LC_TEST,$SECRET; exit 7",
            options=["--kernel", kernel, "--share", f"{directory}/kept:rw"], stdin=data, cwd=directory,
            env={**os.environ, "LC_TEST": "a b", "SECRET": "x"})
        require(out.decode().splitlines() == [directory, "the host's", "mine", "0", "a b,"],
                f"it printed {out}, {errors}")
        require(errors == b"oops\n", f"its errors are {errors}")
        require(status == 7, f"its status is {status}, not 7")
        require((Path(directory) / "file").read_text() == "the host's\n", "the host's file was changed")
        require((Path(directory) / "kept/new").read_text() == "new\n", "what was to be kept is not")
        require((Path(directory) / "kept/data").read_bytes() == data, "its input came otherwise")
    status, out, errors = command_run(context, "cat", stdin=data, options=["--machine", "microvm"])
    require((status, out, errors) == (0, data, b""), f"cat gave {status}, {len(out)} bytes, {errors}")
    first = subprocess.run(["sh", "-c", '"$0" run --accel "$1" -- yes | head -n 1', context.options.kvik,
                            context.options.accel], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=TIMEOUT_S, check=False)
    require((first.stdout, first.stderr) == (b"y\n", b""), f"yes | head printed {first}")
    status, out, errors = command_run(context, "sh", "-c", "kill -9 $$")
    require(status == 137, f"killed by 9, its status is {status}")
    cpus = min(4, len(os.sched_getaffinity(0)))
    status, out, errors = command_run(context, "nproc")
    require((status, out, errors) == (0, f"{cpus}\n".encode(), b""), f"of {cpus} CPUs it has {out}, {errors}")
    if context.options.accel == "engine":
        # Where no code runs directly, nothing else has helpers.
        status, out, errors = command_run(context, "echo", "here", options=["--engine", "jit"])
        require((status, out, errors) == (0, b"here\n", b""), f"with --engine jit echo gave {status}, {out}, {errors}")
    status, out, errors = command_run(context, "/no/such/command")
    require(status == 127 and b"/no/such/command" in errors, f"no command: {status}, {errors}")
    status, out, errors = command_run(context, "/etc/passwd")
    require(status == 126 and b"/etc/passwd" in errors, f"no program: {status}, {errors}")


def test_command_terminal(context):
    """The same on a terminal: its size and changes of it, keys, and the way it was before."""
    if context.options.qemu:
        raise Skipped("the command is kvik's")
    context.image("kernel")
    command = [context.options.kvik, "run", "--accel", context.options.accel, "--", "sh", "-c",
               "stty size; trap 'stty size' WINCH; tty; echo ready; read line; echo got $line; "
               "while :; do sleep 1; done"]
    with Vmm(command, TIMEOUT_S) as vmm:
        context.vmm = vmm
        fcntl.ioctl(vmm.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
        # It may have asked for the size before it was set.
        vmm.expect(r"^(33 77|0 0|24 80)\r*\n", "its size")
        vmm.expect(r"^/dev/pts/\d+\r*\nready\r*\n", "its terminal")
        vmm.send("some words\r")
        vmm.expect(r"^got some words\r*\n", "what was typed")
        fcntl.ioctl(vmm.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 66, 0, 0))
        vmm.signal(signal.SIGWINCH)
        vmm.expect(r"^44 66\r*\n", "its new size")
        vmm.send("\x03")
        status = vmm.wait()
        require(status == 130, f"its status after ^C is {status}, not 130")
        vmm.check_terminal_restored()
    with Vmm(command, TIMEOUT_S) as vmm:
        context.vmm = vmm
        vmm.expect(r"^ready\r*\n", "the command")
        vmm.send("\x1d\x1d\x1d")
        status = vmm.wait()
        require(status == 130, f"its status after ^] three times is {status}, not 130")
        vmm.check_terminal_restored()


def test_command_defaults(context):
    """A folder alone is looked at by the user's shell, and a kernel without memory is told of."""
    if context.options.qemu:
        raise Skipped("the command is kvik's")
    kernel = context.image("kernel")
    kvik = str(Path(context.options.kvik).resolve())
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as directory:
        shell = Path(directory) / "shell"
        shell.write_text("#!/bin/sh\nread line\npwd >$line\nexit 5\n")
        shell.chmod(0o755)
        result = subprocess.run([kvik, "run", "--accel", context.options.accel, "--share", f"{directory}:rw"],
                                input=b"where\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIMEOUT_S,
                                env={**os.environ, "SHELL": str(shell)}, check=False)
        require(result.returncode == 5 and result.stderr == f"kvik: chosen by default: -- {shell}\n".encode(),
                f"--share alone gave {result}")
        require((Path(directory) / "where").read_text() == directory + "\n", "the shell is elsewhere")
    status, out, errors = command_run(context, "true", options=["--kernel", kernel, "--memory", "64M"])
    require(status == 1 and b"--memory of 64M is little" in errors, f"with 64 MiB it gave {status}, {out}, {errors}")


QUICK = [test_command, test_command_terminal, test_command_defaults]
LONG = []
