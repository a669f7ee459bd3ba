"""The root file systems that `--only programs` measures in: Debian's packages, as initramfs archives.

They are made of the host's own packages by tools/guest-root, as root, and kept in $KVIK_CACHE, else
~/.cache/kvik: an archive for each state of the files here.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from guest_files import cache_directory, write_archive  # noqa: E402

PROGRAMS = ("gcc libc6-dev make python3 nodejs openjdk-17-jdk-headless perl sqlite3 git zstd xz-utils "
            "openssl libstb-dev procps mount").split()
# What the row `dpkg` installs; their dependencies are above or among them.
INSTALLED = "bc bison bzip2 cpio dc dos2unix ed less libsigsegv2 m4 patch time tree unzip zip".split()
SYSTEMD = "systemd-sysv udev dbus login kmod procps iproute2 libpam-systemd".split()
# Nobody looks these up at run time, and an initramfs is memory.
SUPERFLUOUS = ("usr/share/doc usr/share/man usr/share/locale usr/share/info usr/share/i18n "
               "usr/share/zoneinfo usr/share/nodejs/npm var/cache/apt var/lib/apt "
               "usr/lib/x86_64-linux-gnu/gconv usr/lib/jvm/java-17-openjdk-amd64/jmods "
               "usr/lib/jvm/java-17-openjdk-amd64/man usr/lib/udev/hwdb.d").split()
SUPERFLUOUS_FILES = ["lto1", "lto-dump", "lib*san*", "libgprofng*", "libm-2*.a", "libmvec.a", "libc.a",
                     "src.zip", "hwdb.bin"]


def run(command, **options) -> None:
    result = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, check=False, **options)
    if result.returncode:
        detail = result.stdout.decode(errors="replace").strip().splitlines()
        raise RuntimeError(f"`{' '.join(map(str, command[:4]))}...` failed: "
                           f"{detail[-1] if detail else result.returncode}")


def key_of(*parts) -> str:
    """A name for what is made of these strings and files."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            digest.update(f"{os.path.relpath(part, HERE)}\0{part.stat().st_mode}\0".encode() + part.read_bytes())
        else:
            digest.update(f"{part}\0".encode())
    return digest.hexdigest()[:12]


def base(packages) -> Path:
    """The packages' files, without what is superfluous; made once."""
    target = cache_directory() / f"programs-root-{key_of(packages, SUPERFLUOUS, SUPERFLUOUS_FILES)}"
    if target.exists():
        return target
    if os.geteuid() != 0:
        raise RuntimeError("the first run makes a root file system: run it as root")
    print(f"bench: making a root file system of {len(packages)} Debian packages and theirs (once)", flush=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    run([ROOT / "tools/guest-root", partial, *packages])
    for name in SUPERFLUOUS:
        shutil.rmtree(partial / name, ignore_errors=True)
    for pattern in SUPERFLUOUS_FILES:
        for path in (partial / "usr/lib").rglob(pattern):
            path.unlink()
    partial.rename(target)
    return target


def archive(packages, sources, change) -> Path:
    """The initramfs of the packages after `change` has changed a copy of their files; made once for
    each state of `sources`, which are files beside this one."""
    target = cache_directory() / f"programs-{key_of(packages, SUPERFLUOUS, INSTALLED, *sources)}.cpio"
    if target.exists():
        return target
    files = base(packages)
    with tempfile.TemporaryDirectory(prefix="programs.", dir=cache_directory()) as scratch:
        copy = Path(scratch) / "root"
        run(["cp", "-a", "--reflink=auto", files, copy])
        change(copy)
        partial = Path(scratch) / "cpio"
        with open(partial, "wb") as out:
            write_archive(copy, out)
        partial.rename(target)
    return target


def add_rows(root: Path) -> None:
    bench = root / "bench"
    bench.mkdir()
    for name in ("rows", "data"):
        shutil.copytree(HERE / name, bench / name)
    for name in ("rows-of", "prepare"):
        shutil.copy(HERE / name, bench)
    shutil.copy(HERE / "init", root / "init")
    packages = bench / "data/packages"
    packages.mkdir()
    run(["apt-get", "-q", "download", *INSTALLED], cwd=packages)
    run(["unshare", "--mount", "sh", "-ec",
         'mount -t proc proc "$0/proc"; mount -t tmpfs tmpfs "$0/tmp"; mount --rbind /dev "$0/dev"; '
         'exec env -i PATH=/usr/sbin:/usr/bin chroot "$0" /bench/prepare', root])
    (bench / "prepare").unlink()
    for path in (root / "tmp").iterdir():
        shutil.rmtree(path)


def rows() -> list:
    return sorted(path.name for path in (HERE / "rows").iterdir())


def programs_archive() -> Path:
    sources = sorted(path for path in (*(HERE / name for name in ("init", "rows-of", "prepare")),
                                       *HERE.glob("rows/*"), *HERE.glob("data/**/*")) if path.is_file())
    return archive(PROGRAMS, sources, add_rows)


def add_login(root: Path) -> None:
    (root / "etc/hostname").write_text("guest\n")
    (root / "etc/issue").write_text("login-reached \\l\n")
    (root / "etc/machine-id").write_text("6b76696b62656e636800000000000001\n")
    (root / "init").symlink_to("lib/systemd/systemd")
    wants = root / "etc/systemd/system/getty.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / "serial-getty@ttyS0.service").symlink_to("/lib/systemd/system/serial-getty@.service")
    shutil.copy(HERE / "systemd-reached.service", root / "etc/systemd/system/reached.service")
    shutil.copy(HERE / "systemd-report", root / "usr/sbin/systemd-report")
    (root / "etc/systemd/system/report.service").write_text(
        "[Unit]\nAfter=multi-user.target\n[Service]\nType=idle\nExecStart=/usr/sbin/systemd-report\n")
    wants = root / "etc/systemd/system/graphical.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    for name in ("report", "reached"):
        (wants / f"{name}.service").symlink_to(f"/etc/systemd/system/{name}.service")


def systemd_archive() -> Path:
    return archive(SYSTEMD, [HERE / "systemd-report", HERE / "systemd-reached.service"], add_login)
