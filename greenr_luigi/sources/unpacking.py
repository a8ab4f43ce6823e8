"""Writing the files of a zip or tar into a folder, within bounds, and nowhere else."""

from __future__ import annotations

import contextlib
import errno
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from greenr_luigi import files
from greenr_luigi.sources.source import SourceError
from greenr_luigi.staleness import listing, regular
from greenr_luigi.staleness.shown import printable

#: How files begin that nothing here can read, and what they are.
FOREIGN = {b"7z\xbc\xaf": "7z", b"Rar!": "rar", b"\x28\xb5/\xfd": "zstd"}
#: The flag of a member of a zip whose name is said to be in UTF-8.
UTF_8 = 0x800
#: An archive may hold so many files, and so many times its own bytes; but as many as the last in any case.
MOST_FILES, MOST_TIMES, ANYWAY = 5_000_000, 100, 1 << 30
#: What a system says of a name that cannot be one in its folders: it is too long, or a file's where a folder is.
NO_NAME = frozenset(
    (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EILSEQ)
)
TORN = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, struct.error, ValueError)


def unpack(archive: Path, out: Path) -> None:
    """Write the files of an archive below the empty folder `out`. Raises SourceError for one that is torn or is none,
    and for what may not or cannot be written."""
    with regular.opened(archive) as file:
        head = bytes(file.read(8))
        file.seek(0)
        if kind := next((kind for begins, kind in FOREIGN.items() if head.startswith(begins)), None):
            words = f"is packed by {kind}, and only zip and tar are read here: unpack it, and name the folder"
            raise SourceError(f"--folder {archive} {words}")
        try:
            Unpacking(archive, out).unpack(
                file, is_zip=head.startswith(b"PK") or archive.suffix.lower() == ".zip"
            )
        except TORN as error:
            why = f"{error}".partition("\n")[0].rstrip(":")
            raise SourceError(f"--folder {archive} is torn or no archive ({why}): get it again") from None


class Unpacking:
    """The files of an archive written below `out`, within bounds. Hidden ones, links and devices are left out."""

    def __init__(self, archive: Path, out: Path) -> None:
        self.archive, self.out, self._files = archive, out, 0
        self._bytes_left = max(ANYWAY, MOST_TIMES * archive.stat().st_size)

    def unpack(self, file: IO[bytes], is_zip: bool) -> None:
        if is_zip:
            self._zip(file)
        else:
            self._tar(file)

    def _zip(self, file: IO[bytes]) -> None:
        with zipfile.ZipFile(file) as members:
            listed = [(member, _name(member)) for member in members.infolist()]
            # Windows' own may have written backslashes.
            backslashes = not any("/" in name for _, name in listed)
            for member, name in listed:
                if backslashes or not member.create_system:
                    name = name.replace("\\", "/")
                path = self._place(name.rstrip("/"))
                if member.flag_bits & 1:
                    self._refuse("is encrypted: unpack it with its password, and name the folder")
                if path is None or name.endswith("/") or stat.S_ISLNK(member.external_attr >> 16):
                    continue
                try:
                    with members.open(member) as source:
                        self._write(source, path)
                except NotImplementedError as error:
                    self._refuse(
                        f"is packed in a way that cannot be read ({error}): unpack it, and name the folder"
                    )

    def _tar(self, file: IO[bytes]) -> None:
        with tarfile.open(fileobj=file, mode="r:*") as members:
            for member in members:
                path = self._place(member.name)
                if path is None:
                    continue
                if member.isreg() and (source := members.extractfile(member)):
                    self._write(source, path)
                elif member.islnk() and (first := self._place(member.linkname)) and first.is_file():
                    with self._naming(path):
                        path.parent.mkdir(parents=True, exist_ok=True)
                        files.link(first, path)

    def _place(self, name: str) -> Path | None:
        """Where a member goes; None if it is hidden. Raises SourceError for one that would go elsewhere."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts:
            self._refuse(f"holds {printable(name)}, which would be written elsewhere: nothing of it is taken")
        self._files += 1
        if self._files > MOST_FILES:
            self._refuse(f"holds more than {MOST_FILES:,} files: unpack it, and name the folder")
        return self.out.joinpath(*parts) if parts and not any(map(listing.is_hidden, parts)) else None

    def _write(self, source: IO[bytes], path: Path) -> None:
        with self._naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # A second one of a name takes the place of the first, to which another name may lead.
            path.unlink(missing_ok=True)
            opened = regular.opened(path, "wb")
        with opened as out:
            while data := source.read(min(1 << 20, self._bytes_left + 1)):
                self._bytes_left -= len(data)
                if self._bytes_left < 0:
                    self._refuse(
                        f"holds more than {MOST_TIMES} times its own bytes: unpack it, and name the folder"
                    )
                out.write(data)

    @contextlib.contextmanager
    def _naming(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in NO_NAME:
                raise
            name = printable(path.relative_to(self.out))
            self._refuse(
                f"holds {name}, which cannot be written so ({error.strerror}): unpack it, rename that, and name the "
                "folder"
            )

    def _refuse(self, words: str) -> None:
        raise SourceError(f"--folder {self.archive} {words}")


def _name(member: zipfile.ZipInfo) -> str:
    """Macs write UTF-8, and do not say so."""
    if member.flag_bits & UTF_8:
        return member.filename
    try:
        return member.filename.encode("cp437").decode()
    except UnicodeError:
        return member.filename
