"""Folders of the host in the guest."""

import hashlib
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

from context import HERE, ROOT, Skipped, VIRTIO_MODULES, require, sections
from kernel import check_dmesg


def digests(folder: Path) -> list:
    """What `find . -type f | sort | xargs sha256sum` prints there."""
    files = sorted(f"./{path.relative_to(folder)}" for path in folder.rglob("*")
                   if path.is_file() and not path.is_symlink())
    return [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in files]


P9_MODULES = ["netfs", "fscache", "9pnet", "9pnet_virtio", "9p"]


def share_boot(context, board: str, kind="virtiofs") -> None:
    if context.options.qemu:
        raise Skipped("the shares are kvik's")
    with tempfile.TemporaryDirectory() as directory:
        work, readonly, posix, xattr, files = (Path(directory) / name for name in ("work", "ro", "posix", "xattr", "files"))
        xattr.mkdir()
        files.mkdir()
        compiled = subprocess.run(["cc", "-D_GNU_SOURCE", "-static", "-O1", "-o", posix, ROOT / "tests/share/posix.c"],
                                  check=False)
        require(compiled.returncode == 0, "cannot compile tests/share/posix.c")
        (Path(directory) / "outside").write_text("secret")
        for folder in (work, readonly):
            (folder / "sub").mkdir(parents=True)
            (folder / "sub/file").write_bytes(os.urandom(300000))
            (folder / "empty").write_bytes(b"")
        (work / "out").symlink_to("../outside")
        before = digests(readonly)
        is_9p = kind == "9p"
        with context.start(memory="256M", append=f"quiet test.type={kind}", init=HERE / "share-init",
                           modules=[*VIRTIO_MODULES, *(P9_MODULES if is_9p else ["fuse", "virtiofs"])],
                           flavour="generic" if is_9p else "cloud",
                           added=[f"{posix}=posix"],
                           extra=["--machine", board, "--share", f"{work}:rw,tag=work,type={kind}",
                                  "--share", f"{readonly},type={kind}",
                                  "--share", f"{xattr}:rw,tag=xattr,owners=xattr,type={kind}",
                                  "--share", f"{files}:rw,tag=files,owners=files,type={kind}", "--save", f"{directory}/saved"]) as vmm:
            context.vmm = vmm
            wanted = digests(work) + ["-rw-r--r--    1 0        0       ", "../outside",
                                      "cat: can't open '/mnt/out': No such file or directory"]
            vmm.expect(r"^=== end", "the end of init")
            vmm.signal(signal.SIGUSR1)
            vmm.expect(r"the guest uses the shared folder '(work|share1|xattr|files)'", "the refusal to save")
            vmm.send("\n")
            status = vmm.wait()
            require(status == 0, f"exit status {status} after power-off, not 0")
            facts = sections(vmm.text())
            seen = [line[:33] if line.startswith("-rw") else line for line in facts["seen"]]
            require(seen == wanted + before, f"the guest saw {seen}, not {wanted + before}")
            require(not facts["refused"], f"was not refused: {facts['refused']}")
            for part in ("posix", "xattr", "files"):
                require(re.fullmatch(r"posix: \d+ checks, 0 failures", facts[part][-1] or ""),
                        f"the file system: {part}: {facts[part]}")
            check_dmesg(facts, False)
            made = hashlib.sha256((work / "made").read_bytes()).hexdigest()
            require(facts["made"] == [f"{made}  made"], "the host has not what the guest made")
            require((work / "made").stat().st_mode & 0o7777 == 0o640, "chmod was not done")
            require(os.readlink(work / "made-link") == "made", "the link is another")
            require(digests(readonly) == before, "the read-only folder was changed")


def test_share(context):
    """Shared folders on a pc: a POSIX file system, read-only where it is, and nothing beside it."""
    share_boot(context, "pc")


def test_share_microvm(context):
    """The same on a microvm."""
    share_boot(context, "microvm")


def test_share_9p(context):
    """Shared folders by 9P on a pc."""
    share_boot(context, "pc", "9p")


QUICK = [test_share, test_share_microvm, test_share_9p]
LONG = []
