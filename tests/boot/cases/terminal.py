"""The terminal: a person at the shell, the escape keys, and how it is left however kvik ends."""

import signal
import time

from context import Skipped, require

KEY_QUIT = "\x01x"
KEY_HELP = "\x01h"


def test_shell(context):
    """A person at the shell: prompt, commands, ^C, the escape key's help, exit."""
    with context.start() as vmm:
        context.vmm = vmm
        vmm.expect(r"~ # ", "a shell prompt")
        vmm.send("echo $((6 * 7))-works\n")
        vmm.expect(r"^42-works", "the output of echo")
        vmm.expect(r"~ # ")
        vmm.send("tty\n")
        vmm.expect(r"/dev/ttyS0", "the terminal's name")
        vmm.expect(r"~ # ")
        vmm.send("sleep 1000\n")
        time.sleep(1)
        vmm.send("\x03")
        vmm.expect(r"~ # ", "a prompt after ^C")
        if not context.options.qemu:
            vmm.send(KEY_HELP)
            vmm.expect(r"(?i)quit|exit|terminate", "help on ^A h")
        vmm.send("exit\n")
        status = vmm.wait()
        require(status == 0, f"exit status {status} after power-off, not 0")
        vmm.check_terminal_restored()


def test_quit_key(context):
    """^A x ends the VMM and restores the terminal."""
    with context.start(timeout_s=60) as vmm:
        context.vmm = vmm
        vmm.wait_raw()
        time.sleep(0.5)
        vmm.send(KEY_QUIT)
        status = vmm.wait()
        require(status >= 0, f"^A x ended it by signal {-status}")
        vmm.check_terminal_restored()


def ends_by(context, number) -> None:
    with context.start(timeout_s=60) as vmm:
        context.vmm = vmm
        vmm.wait_raw()
        time.sleep(0.5)
        vmm.signal(number)
        vmm.wait()
        vmm.check_terminal_restored()


def test_sigterm(context):
    """SIGTERM ends the VMM and restores the terminal."""
    ends_by(context, signal.SIGTERM)


def test_sighup(context):
    """SIGHUP, too."""
    ends_by(context, signal.SIGHUP)


def test_crash(context):
    """The terminal is restored even when the VMM itself crashes."""
    if context.options.qemu:
        raise Skipped("QEMU does not promise this")
    ends_by(context, signal.SIGSEGV)


QUICK = [test_quit_key, test_sigterm, test_sighup, test_crash, test_shell]
LONG = []
