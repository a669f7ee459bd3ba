"""Scripts of others that call QEMU's programs by their names, unmodified: those names are links to kvik's."""

import json
import os
import re
import shutil
from pathlib import Path

import distribution
from frame import (TIMEOUT_S, Failed, Skipped, installed, made, mirror, output, package, plain, require,
                   write_archive)
from server import Proxy, Server

# -- debvm --


def test_debvm(context):
    """debvm-create makes an image, debvm-run boots it: systemd finds nothing wrong, ssh by its port, off."""
    installed("debvm-run")
    disk, port = distribution.copy(context), distribution.free_port()
    with context.console(shutil.which("debvm-run"), "-i", disk, "-s", port, timeout_s=2 * TIMEOUT_S) as vmm:
        distribution.login(vmm)
        distribution.address(vmm)
        distribution.check_system(vmm, os.cpu_count())
        require(distribution.ssh(port, "systemctl is-active ssh; uname -m") == "active\nx86_64", "ssh does not answer as it should")
        vmm.send("poweroff\n")
        require(vmm.wait(120) == 0, "debvm-run's status is not 0")


# -- fakemachine, and what builds on it --


def make_kernel(directory: Path) -> None:
    """The oldest kernel of the release's: fakemachine 0.0.4 loads virtio before virtio_ring, on which that of later ones
    depends (so they start under QEMU no more than here)."""
    names = output("apt-cache", "pkgnames", "linux-image-").split()
    found = [name for name in names if re.fullmatch(r"linux-image-[\d.]+-\d+-amd64", name)]
    if not found:
        raise Skipped("apt has no kernels")
    name = min(found, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    output("dpkg-deb", "--extract", package(name), directory)
    for release in (directory / "lib/modules").iterdir():
        output("depmod", "-b", directory, release.name)


def make_resolved(directory: Path) -> None:
    """The /usr of systemd-resolved, without which fakemachine makes no machine. To install it would take over the
    host's /etc/resolv.conf."""
    root = directory / "root"
    output("dpkg-deb", "--extract", package("systemd-resolved"), root)
    for name in ("bin", "share"):
        (root / "usr" / name).rename(directory / name)
    # /lib is a link into /usr on the host, and not in the package.
    (root / "lib").rename(directory / "lib")
    for path in (root / "usr/lib").iterdir():
        path.rename(directory / "lib" / path.name)
    shutil.rmtree(root)


def in_fakemachine(*command) -> list:
    """A command that starts fakemachines, where that kernel is the host's and systemd-resolved is in its /usr."""
    installed("fakemachine", "busybox", "udevadm", "depmod")
    kernel = made("old-kernel", "1", make_kernel)
    Path("/lib/modules").mkdir(exist_ok=True)
    mounts = f'mount --bind "{kernel}/boot" /boot && mount --bind "{kernel}/lib/modules" /lib/modules && '
    if not Path("/lib/systemd/systemd-resolved").exists():
        resolved = made("resolved", "1", make_resolved)
        mounts = f'mount -t overlay -o lowerdir="{resolved}":/usr overlay /usr && {mounts}'  # /lib is in /usr
    return ["unshare", "--mount", "sh", "-c", mounts + 'exec "$@"', "sh", *command]


def test_fakemachine(context):
    """fakemachine: a command on the host's /usr, in a directory of the host's, with a disk for scratch; its status."""
    directory = context.scratch / "volume"
    directory.mkdir()
    (directory / "in").write_text("of the host\n")
    script = directory / "script"
    script.write_text("#!/bin/sh -ex\ncd ${0%/*}\ncat in\nuname -r >out\ndf /scratch\nmkdir tree\ncp -r /usr/share/doc/bash tree/\n"
                      "tar c tree | sha256sum\nexit 7\n")
    script.chmod(0o755)
    try:
        context.call(*in_fakemachine("fakemachine", "--backend", "qemu", "-v", directory, "-s", "256M", script),
                     cwd=context.scratch)
        raise Failed("the status of what it ran is lost")
    except Failed as failure:
        require("status 7" in str(failure), f"{failure}, not with 7")
    require("of the host" in context.text, "what it prints is lost")
    release = (directory / "out").read_text().strip()
    require(release != os.uname().release and bool(release), f"it ran on {release}")


RECIPE = """architecture: amd64
actions:
  - action: debootstrap
    suite: {release}
    mirror: {mirror}
    variant: minbase
    components: [main]
    check-gpg: false
  - action: overlay
    source: files
  - action: run
    description: In its root
    chroot: true
    command: dpkg -l apt | grep ^ii && cp /etc/debian_version /version
  - action: image-partition
    imagename: debos.img
    imagesize: 900MB
    partitiontype: gpt
    mountpoints:
      - mountpoint: /
        partition: root
    partitions:
      - name: root
        fs: ext4
        start: 0%
        end: 100%
  - action: filesystem-deploy
    description: Onto the disk
    append-kernel-cmdline: console=ttyS0
"""


def test_debos(context):
    """debos: debootstrap, an overlay, commands in a chroot, partitions and a file system, in its fakemachine."""
    installed("debos", "debootstrap", "parted")
    uri, release = mirror()
    directory = context.scratch / "recipe"
    (directory / "files/etc").mkdir(parents=True)
    (directory / "files/etc/kvik").write_text("by the overlay\n")
    (directory / "recipe.yaml").write_text(RECIPE.format(release=release, mirror=uri))
    with Server(Proxy) as url:
        context.call(*in_fakemachine("debos", "--fakemachine-backend=qemu", f"--environ-var=http_proxy:{url}",
                                     "--memory=2Gb", "recipe.yaml"), cwd=directory, timeout_s=4 * TIMEOUT_S)
    # The host reads what the machine wrote.
    image, part = directory / "debos.img", context.scratch / "root"
    table = json.loads(output("sfdisk", "--json", image))["partitiontable"]["partitions"]
    require(len(table) == 1, f"the image has {len(table)} partitions")
    output("dd", f"if={image}", f"of={part}", "bs=512", f"skip={table[0]['start']}", f"count={table[0]['size']}",
           "conv=sparse", "status=none")
    output("/sbin/e2fsck", "-fn", part)
    require(output("/sbin/debugfs", "-R", "cat /etc/kvik", part) == "by the overlay", "the overlay is not there")
    require(bool(output("/sbin/debugfs", "-R", "cat /version", part)), "the command's file is not there")


# -- autopkgtest --


BUILD = """#!/bin/sh -e
cd {place}
export PATH={programs}:$PATH
qemu-img --version
exec autopkgtest-build-qemu --apt-proxy={proxy} --mirror={mirror} --size=4G {release} {place}/testbed.img
"""


def make_testbed(context, directory: Path) -> None:
    """autopkgtest-build-qemu and its vmdb2, which want device-mapper and root, in fakemachine."""
    installed("autopkgtest-build-qemu", "vmdb2", "debootstrap", "parted", "kpartx")
    uri, release = mirror()
    place, script = context.scratch / "build", context.scratch / "build/script"
    place.mkdir()
    programs = context.programs()
    with Server(Proxy) as url:
        script.write_text(BUILD.format(place=place, programs=programs, proxy=url, mirror=uri, release=release))
        script.chmod(0o755)
        volumes = [word for path in (place, programs, Path(shutil.which("qemu-img", path=programs)).resolve().parent)
                   for word in ("-v", path)]
        context.call(*in_fakemachine("fakemachine", "-b", "qemu", "-m", "2048", "-s", "2G", *volumes, script),
                     timeout_s=8 * TIMEOUT_S, cwd=context.scratch)
    shutil.move(place / "testbed.img", directory / "testbed.img")


AUTOPKGTEST = {
    "debian/control": "Source: trivial\nMaintainer: Nobody <nobody@example.org>\nSection: misc\nPriority: optional\n\n"
                      "Package: trivial\nArchitecture: all\nDescription: a package to be tested\n",
    "debian/changelog": "trivial (1) unstable; urgency=low\n\n  * It is there.\n\n"
                        " -- Nobody <nobody@example.org>  Mon, 01 Jan 2024 00:00:00 +0000\n",
    "debian/source/format": "3.0 (native)\n",
    "debian/tests/control": "Tests: works reboots\nDepends:\nRestrictions: needs-root, isolation-machine, needs-reboot\n",
    "debian/tests/works": "#!/bin/sh\nset -e\ncmp data/one data/two\necho it works\nuname -r >$AUTOPKGTEST_ARTIFACTS/release\n",
    "debian/tests/reboots": "#!/bin/sh\nset -e\necho mark is ${AUTOPKGTEST_REBOOT_MARK:-none}\n"
                            "[ \"$AUTOPKGTEST_REBOOT_MARK\" ] || /tmp/autopkgtest-reboot once\n",
}


def test_autopkgtest_build(context):
    """autopkgtest-build-qemu: an image by vmdb2 in fakemachine (kept for the next one)."""
    made("testbed", "1", lambda directory: make_testbed(context, directory))


def try_package(context, disk: Path, *options) -> None:
    """A small package's tests, with files both ways and a reboot between."""
    installed("autopkgtest")
    tree, results = context.scratch / "trivial-1", context.scratch / "results"
    for name, text in AUTOPKGTEST.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
        (tree / name).chmod(0o755 if text.startswith("#!") else 0o644)
    (tree / "data").mkdir()
    data = os.urandom(2000000)
    for name in ("one", "two"):
        (tree / "data" / name).write_bytes(data)
    context.call("autopkgtest", f"--output-dir={results}", "--timeout-factor=10", "-B", f"{tree}/", "--", "qemu",
                 "--ram-size=1024", "--cpus=2", "--timeout-reboot=600", f"--overlay-dir={context.scratch}", *options, disk,
                 timeout_s=2 * TIMEOUT_S)
    for name in ("works", "reboots"):
        require(bool(re.search(rf"^{name} +PASS", context.text, re.MULTILINE)), f"the package's test {name} did not pass")
    require("mark is once" in context.text, "it was not rebooted")
    require((results / "artifacts/release").exists(), "the artifact did not come back")


def make_quick_testbed(directory: Path) -> None:
    """debvm's, with what autopkgtest has ready for images, and a kernel that knows 9P, as that for clouds does not. It takes
    options without spaces only: the initrd knows the root."""
    setup = "/usr/share/autopkgtest/setup-commands/setup-testbed"
    if not Path(setup).exists():
        raise Skipped("autopkgtest not installed: run tools/setup others")
    distribution.make_image(directory, "--include=linux-image-amd64", f'--customize-hook={setup} "$1"',
                            own_options=["-s", "kernel"])
    (directory / "more/conf").mkdir(parents=True)
    (directory / "more/conf/param.conf").write_text("ROOT=LABEL=debvm\n")
    with open(directory / "initrd", "ab") as initrd:
        initrd.write(bytes(-initrd.tell() % 4))  # an archive begins at a multiple
        initrd.flush()
        write_archive(directory / "more", initrd)


def test_autopkgtest(context):
    """autopkgtest-virt-qemu: a package's tests in an image by debvm-create and setup-testbed."""
    there = made("debvm-testbed", "2", make_quick_testbed)
    try_package(context, there / "disk.ext4",
                f"--qemu-options=-kernel {there}/vmlinuz -initrd {there}/initrd -append console=ttyS0")


def test_autopkgtest_built(context):
    """The same in the image of autopkgtest-build."""
    try_package(context, made("testbed", "1", lambda directory: make_testbed(context, directory)) / "testbed.img")


# -- mkosi --


def test_mkosi(context):
    """mkosi qemu: the image's kernel, initrd and command line, to the login."""
    installed("mkosi")
    image = context.scratch / "image.raw"
    distribution.copy(context).rename(image)
    for name in ("vmlinuz", "initrd"):
        shutil.copy(distribution.image() / name, context.scratch / f"image.{name}")
    (context.scratch / "image.cmdline").write_text("root=LABEL=debvm rw console=ttyS0\n")
    _, release = mirror()
    with context.console("sh", "-c", f"cd {context.scratch} && exec mkosi --distribution debian --release {release} "
                         "--bootable yes --qemu-boot linux --qemu-headless yes --output image.raw qemu",
                         timeout_s=2 * TIMEOUT_S) as vmm:
        distribution.login(vmm)
        vmm.send("poweroff\n")
        require(vmm.wait(120) == 0, "mkosi's status is not 0")
        require("qemu-system-x86_64" in plain(vmm.text()), "it started something else")


TESTS = [test_debvm, test_fakemachine, test_debos, test_mkosi, test_autopkgtest,
         test_autopkgtest_build, test_autopkgtest_built]
