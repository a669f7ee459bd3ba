"""What every test of a system needs: packages' files, a console, CDs, images, and kvik under QEMU's name."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT / "tests/boot"), str(ROOT / "tools")]

from guest_files import cache_directory, write_archive  # noqa: E402,F401
from vmm import Failed, Vmm  # noqa: E402

TIMEOUT_S = float(os.environ.get("KVIK_SYSTEM_TIMEOUT", "900"))


class Skipped(Exception):
    """Why a system cannot be had here."""


def require(condition: bool, text: str) -> None:
    if not condition:
        raise Failed(text)


def output(*command, **options) -> str:
    result = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, check=False, **options)
    if result.returncode:
        raise Skipped(f"`{command[0]}` failed (see above)")
    return result.stdout.decode().strip()


def package(name: str) -> Path:
    """The .deb of that name, which is fetched once."""
    directory = cache_directory() / "packages"
    directory.mkdir(exist_ok=True)
    if not list(directory.glob(f"{name}_*.deb")):
        fetched = subprocess.run(["apt-get", "-q", "download", name], cwd=directory, check=False,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if fetched.returncode:
            raise Skipped(f"apt has no package {name}")
    return sorted(directory.glob(f"{name}_*.deb"))[-1]


def packed(name: str, path: str, target: Path) -> Path:
    """One file of a package. `target` may be a directory."""
    target = target / Path(path).name if target.is_dir() else target
    tar = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package(name)], stdout=subprocess.PIPE)
    with open(target, "wb") as out:
        found = subprocess.run(["tar", "-xO", "--wildcards", f"./{path}"], stdin=tar.stdout, stdout=out, check=False)
    tar.stdout.close()
    tar.wait()
    if found.returncode or not target.stat().st_size:
        raise Skipped(f"the package {name} has no file {path}")
    return target


def mirror() -> tuple:
    """Where the machine's own apt finds its release, and that release's name."""
    release = re.search(r"^VERSION_CODENAME=(\S+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    lists = output("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages")
    for line in lists.splitlines():
        uri, codename, component = line.split()
        if release and codename == release.group(1) and component == "main":
            return uri.rstrip("/"), codename
    raise Skipped("apt has no lists of this release: run apt-get update")


def made(name: str, key: str, make) -> Path:
    """The directory of that name that make(directory) fills once, and again when `key` is another."""
    path = cache_directory() / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    if not path.exists():
        print(f"making {path} (once)", flush=True)
        with tempfile.TemporaryDirectory(prefix=f"{name}.", dir=path.parent) as scratch:
            target = Path(scratch) / "made"
            target.mkdir()
            make(target)
            target.rename(path)
    return path


def installed(*names) -> None:
    missing = [name for name in names if not shutil.which(name)]
    if missing:
        raise Skipped(f"{', '.join(missing)} not installed: run tools/setup others")


class Console(Vmm):
    """A console whose screen is drawn in pieces: what is waited for is looked for without these."""

    def expect(self, pattern: str, what: str = "") -> re.Match:
        compiled = re.compile(pattern, re.MULTILINE)
        while True:
            match = compiled.search(plain(self.text()), self.position)
            if match:
                self.position = match.end()
                return match
            panic = re.search(r"Kernel panic[^\r\n]*", plain(self.text())[self.position:])
            if panic:
                raise Failed(f"while waiting for {what or pattern}: {panic.group()}")
            if self.process.poll() is not None and not self.read(0.2):
                raise Failed(f"ended with status {self.process.returncode} while waiting for {what or pattern}")
            if time.monotonic() > self.deadline:
                raise Failed(f"timeout while waiting for {what or pattern}")
            self.read(0.2)


class Context:
    def __init__(self, options, scratch):
        self.options, self.scratch = options, Path(scratch)
        self.vmm = None
        self.text = ""  # what a script said

    def image(self, *arguments) -> str:
        return output(ROOT / "tools/guest-image", *arguments)

    def start(self, *arguments, qemu=(), memory="512M", cpus=1, timeout_s=TIMEOUT_S) -> Vmm:
        """kvik with `arguments`, or QEMU with `qemu`, its console on a terminal."""
        if self.options.qemu:
            command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-nographic", "-m", memory, "-smp", str(cpus),
                       *qemu]
        else:
            command = [self.options.kvik, "run", "--accel", self.options.accel, "--memory", memory, "--cpus", str(cpus),
                       *arguments]
        self.vmm = Console([str(word) for word in command], timeout_s)
        return self.vmm

    def programs(self) -> Path:
        """A directory in which QEMU's programs are links to kvik's, or to QEMU's own."""
        directory = self.scratch / "programs"
        if not directory.exists():
            directory.mkdir()
            for theirs, ours in (("qemu-system-x86_64", "kvik-system-x86_64"), ("qemu-img", "kvik-img")):
                there = shutil.which(theirs) if self.options.qemu else Path(self.options.kvik).resolve().parent / ours
                if not there or not Path(there).exists():
                    raise Skipped(f"there is no {there or theirs}")
                (directory / theirs).symlink_to(there)
        return directory

    def as_others_see_it(self, *command) -> list:
        """That command with these in its PATH, where there is no /dev/kvm but with --accel kvm."""
        hidden = [] if self.options.accel == "kvm" else [HERE / "without-kvm"]
        return [str(word) for word in (*hidden, "env", f"PATH={self.programs()}:{os.environ['PATH']}", *command)]

    def console(self, *command, timeout_s=TIMEOUT_S) -> Vmm:
        """A script that starts the machine, on a terminal."""
        self.vmm = Console(self.as_others_see_it(*command), timeout_s)
        return self.vmm

    def call(self, *command, timeout_s=TIMEOUT_S, **options) -> str:
        """What a script said that had its machine do something. Raises Failed."""
        said = self.scratch / "said"
        with open(said, "wb") as out:
            process = subprocess.Popen(self.as_others_see_it(*command), stdin=subprocess.DEVNULL, stdout=out,
                                       stderr=subprocess.STDOUT, start_new_session=True, **options)
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise Failed(f"{Path(command[0]).name} has not ended in {timeout_s:.0f} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            self.text = said.read_text(errors="replace")
        require(status == 0, f"{Path(command[0]).name} ended with status {status}")
        return self.text

    def cd(self, config: str, is_uefi: bool = False, **files) -> Path:
        """A CD that boots GRUB with this configuration: by a BIOS, and by UEFI where that one is installed."""
        if is_uefi and not Path("/usr/lib/grub/x86_64-efi").is_dir():
            raise Skipped("grub-efi-amd64-bin is not installed: run tools/setup others")
        for name in ("grub-mkrescue", "mformat", "xorriso"):
            if not shutil.which(name):
                raise Skipped(f"{name} is not installed: run tools/setup check")
        tree, image = self.scratch / "tree", self.scratch / "cd.iso"
        (tree / "boot/grub").mkdir(parents=True, exist_ok=True)
        for name, path in files.items():
            shutil.copy(path, tree / "boot" / name)
        (tree / "boot/grub/grub.cfg").write_text(
            "serial --unit=0\nterminal_input serial\nterminal_output serial\n" + config + "\nboot\n")
        subprocess.run(["grub-mkrescue", "-o", image, tree], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        return image

    def start_cd(self, image, **more) -> Vmm:
        return self.start("--cdrom", image, "--net", "none", qemu=["-cdrom", image, "-net", "none"], **more)


def plain(text: str) -> str:
    """Without the sequences that move a terminal's cursor, name its window or ask it; a return begins a line."""
    text = re.sub(r"\x1b\][^\x07\x1b]*\x07|\x1b[\[(][0-9;?]*[A-Za-z]|\x1b[78]", "", text)
    return text.replace("\r", "\n")
