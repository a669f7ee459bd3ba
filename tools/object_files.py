"""What the object files of static libraries define and use; for the checks beside this file."""

import os
import re
import subprocess
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"


class Objects:
    """Of all `libraries`, which lie below .../src/ as their rooms do: by symbol the file that defines it,
    by file the symbols that it uses. Files are paths from src; what was made at build time is None."""

    def __init__(self, libraries: list):
        self.files = set()
        self.defined, self.used = {}, {}
        for library in libraries:
            self.read(library, library.rsplit("src/", 1)[1].rpartition("/")[0])

    def read(self, library: str, room: str):
        # Meson names an object after the path from the library's folder to the source, with _ for /.
        sources = {os.path.relpath(file, SOURCE / room).replace("/", "_") + ".o":
                   file.relative_to(SOURCE).as_posix() for file in SOURCE.rglob("*.[cS]")}
        lines = subprocess.run(["nm", "-A", library], stdout=subprocess.PIPE, check=True, text=True)
        for line in lines.stdout.splitlines():
            place, symbol = line.rsplit(":", 1)
            kind, name = symbol.split()[-2:]
            file = sources.get(re.split("[:/]", place)[-1])
            if kind in "TDBRC":
                self.defined[name] = file
            elif kind == "U":
                self.used.setdefault(file, set()).add(name)
            self.files.add(file)
