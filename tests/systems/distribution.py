"""A Debian that debvm makes, which starts directly: what systemd says of itself, apt, a compiler, each board."""

import re
import shutil
import subprocess
import time
from pathlib import Path

from frame import TIMEOUT_S, Skipped, installed, made, mirror, output, plain, require
from server import Server

# What is said at the level of errors on any such machine: of the host's CPU, of a file that debvm does not make, and
# of PCI where there is none (a microvm).
EXPECTED = re.compile(r"Spectre|RETBleed|MDS|mitigation|vulnerab|pam_env|"
                      r"No config space access function", re.I)
COMPLAINTS = re.compile(r"Oops|BUG:|Call Trace|soft lockup|rcu.*stall|hung task|blocked for more|segfault|"
                        r"clocksource.*unstable|Marking (clocksource|TSC)|general protection", re.I)
HELLO = r"""printf '#include <stdio.h>\nint main(void){puts("made by gcc");return 0;}\n' >a.c && gcc -O2 -Wall -o a a.c && ./a"""


def make_image(directory: Path, *options, own_options=()) -> None:
    """debvm-create's, with further options for mmdebstrap and for itself."""
    installed("debvm-create", "mmdebstrap", "ssh-keygen")
    uri, release = mirror()
    key = directory / "key"
    output("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    log = directory / "log"
    with open(log, "wb") as out:
        done = subprocess.run(["debvm-create", "-h", "testvm", "-r", release, "-z", "2500M", "-k", f"{key}.pub",
                               "-o", directory / "disk.ext4", *own_options, "--", *options, uri],
                              stdout=out, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise Skipped(f"debvm-create failed: {log.read_text(errors='replace').splitlines()[-1:]}")
    for name, link in (("vmlinuz", "vmlinuz"), ("initrd", "initrd.img")):
        stat = output("/sbin/debugfs", "-R", f"stat {link}", directory / "disk.ext4", stderr=subprocess.DEVNULL)
        place = re.search(r'Fast link dest: "(.*)"', stat)
        if not place:
            raise Skipped(f"the image has no {link}")
        output("/sbin/debugfs", "-R", f"dump {place.group(1)} {directory / name}", directory / "disk.ext4",
               stderr=subprocess.DEVNULL)


def image() -> Path:
    """A directory with disk.ext4, its vmlinuz and initrd, and the key of root's."""
    return made("debvm", "2", make_image)


def copy(context) -> Path:
    """The disk, to be written to."""
    target = context.scratch / "disk.ext4"
    output("cp", "--sparse=always", "--reflink=auto", image() / "disk.ext4", target)
    return target


def check_system(vmm, cpus: int) -> None:
    """At root's shell: does systemd, and does the kernel, find nothing wrong?"""
    vmm.send("systemctl is-system-running --wait | sed s/^/state:/; nproc | sed s/^/cpus:/; "
             "systemctl --failed --no-legend --plain | sed s/^/failed:/; "
             "journalctl -b -p err --no-pager -o cat | sed s/^/error:/; dmesg | sed s/^/kernel:/; echo checked-$((6 * 7))\n")
    begin = vmm.position
    vmm.expect(r"^checked-42", "the answers")
    lines = plain(vmm.text())[begin:].splitlines()
    failed = [line for line in lines if line.startswith("failed:")]
    require(not failed, f"units failed: {failed}")
    errors = [line for line in lines if line.startswith("error:") and not EXPECTED.search(line)]
    require(not errors, f"the journal has errors: {errors[:5]}")
    bad = [line for line in lines if line.startswith("kernel:") and COMPLAINTS.search(line) and not EXPECTED.search(line)]
    require(not bad, f"the kernel complains: {bad[:3]}")
    require("state:running" in lines, f"systemd is not 'running': {[line for line in lines if line.startswith('state:')]}")
    require(f"cpus:{cpus}" in lines, f"it has not {cpus} CPUs")


def login(vmm) -> None:
    vmm.expect(r"testvm login: root \(automatic login\)", "a login")
    vmm.expect(r"root@testvm:~# ", "a shell prompt")


def start(context, cpus: int, *more, qemu=()):
    """That Debian with kvik's own options, on a disk that is not written to."""
    there = image()
    disk, kernel, initrd = there / "disk.ext4", there / "vmlinuz", there / "initrd"
    append = "root=LABEL=debvm rw console=ttyS0"
    return context.start(f"{disk},format=raw,snapshot", "--kernel", kernel, "--initrd", initrd, "--append", append, *more,
                         qemu=["-kernel", kernel, "-initrd", initrd, "-append", append,
                               "-drive", f"file={disk},format=raw,snapshot=on,if=virtio",
                               "-nic", "user,model=virtio", *qemu],
                         memory="1G", cpus=cpus, timeout_s=2 * TIMEOUT_S)


def address(vmm) -> None:
    """It comes when it comes. A card that is not on PCI is eth0, which debvm's network file does not match."""
    vmm.send(r"[ ! -e /sys/class/net/eth0 ] || { printf '[Match]\nName=eth0\n[Network]\nDHCP=yes\n' "
             ">/etc/systemd/network/21-eth0.network; networkctl reload; }\n")
    vmm.send("until networkctl status | grep -q 10.0.2.15; do sleep 1; done; echo address-$((6 * 7))\n")
    vmm.expect(r"^address-42", "an address by DHCP")
    vmm.expect(r"root@testvm:~# ", "a shell prompt")


def end(vmm) -> None:
    """By the power button."""
    vmm.expect(r"root@testvm:~# ", "a shell prompt")
    vmm.send("\x01p")
    vmm.expect(r"reboot: Power down", "the end")
    require(vmm.wait(60) == 0, "the exit status is not 0")


# -- what systemd says --


def healthy(context, cpus: int, *more) -> None:
    """To the login, nothing failed, no errors in its journal, ssh from outside, off by the button."""
    if context.options.qemu:
        raise Skipped("the line is kvik's")
    port = free_port()
    with start(context, cpus, "--net", f"user,forward=tcp:127.0.0.1:{port}:22", *more) as vmm:
        login(vmm)
        address(vmm)
        check_system(vmm, cpus)
        require(ssh(port, "systemctl is-active ssh; uname -m") == "active\nx86_64", "ssh does not answer as it should")
        end(vmm)


def free_port() -> int:
    import socket
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ssh(port: int, command: str) -> str:
    """What a command says at root's by ssh. It is tried until sshd is there."""
    deadline = time.monotonic() + 120
    while True:
        done = subprocess.run(["ssh", "-q", "-p", str(port), "-i", image() / "key", "-o", "StrictHostKeyChecking=no",
                               "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=60", "-o", "BatchMode=yes",
                               "root@127.0.0.1", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
        if done.returncode != 255 or time.monotonic() > deadline:
            return done.stdout.decode().strip()
        time.sleep(2)


def test_systemd(context):
    """Debian on a pc with 4 CPUs: no unit failed, no errors in its journal, DHCP, sshd behind a forwarded port."""
    healthy(context, 4)


def test_systemd_jit(context):
    """The same with the translator alone."""
    healthy(context, 4, "--engine", "jit")


def test_systemd_q35(context):
    """The same on a q35."""
    healthy(context, 4, "--machine", "q35")


# -- what is done in it --


def make_repository(directory: Path) -> None:
    """gcc with all that it needs, as apt finds packages at a server."""
    wanted = output("apt-get", "-o", "Dir::State::status=/dev/null", "install", "-y", "--no-install-recommends",
                    "--print-uris", "-qq", "gcc", "libc6-dev")
    names = [match.group(1) for match in re.finditer(r"^'[^']*' ([^_ ]+)_", wanted, re.MULTILINE)]
    output("apt-get", "-q", "download", *names, cwd=directory, stderr=subprocess.DEVNULL)
    if not shutil.which("apt-ftparchive"):
        raise Skipped("apt-ftparchive not installed: run tools/setup others")
    (directory / "Packages").write_text(output("apt-ftparchive", "packages", ".", cwd=directory) + "\n")


def work(context, cpus: int, *more, qemu=()) -> None:
    """Install a compiler by apt from a server on the host's loopback, compile, and press the power button."""
    if context.options.qemu and not qemu:
        raise Skipped("the line is kvik's")
    with Server.of(made("repository", "gcc 1", make_repository)) as url, \
            start(context, cpus, "--net", "user", *more, qemu=qemu) as vmm:
        login(vmm)
        address(vmm)
        vmm.send("rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*; rm -rf /var/lib/apt/lists/*; "
                 f"echo 'deb [trusted=yes] {url}/ ./' >/etc/apt/sources.list; export DEBIAN_FRONTEND=noninteractive; "
                 "apt-get -q update && apt-get -qy install --no-install-recommends gcc libc6-dev; echo apt-$?-done\n")
        require(vmm.expect(r"^apt-(\d+)-done", "the end of apt-get").group(1) == "0", "apt-get failed")
        vmm.send(HELLO + "; echo gcc-$?-done\n")
        vmm.expect(r"^made by gcc", "what the program prints")
        vmm.expect(r"^gcc-0-done", "its status")
        check_system(vmm, cpus)
        end(vmm)


def test_work_pc(context):
    """Debian on a pc: apt-get install from a server on the host, gcc, the power button."""
    work(context, 1)


def test_work_q35(context):
    """The same on a q35 with 4 CPUs."""
    work(context, 4, "--machine", "q35")


def test_work_microvm(context):
    """The same on a microvm with 2."""
    work(context, 2, "--machine", "microvm")


TESTS = [test_systemd, test_systemd_jit, test_systemd_q35, test_work_pc, test_work_q35, test_work_microvm]
