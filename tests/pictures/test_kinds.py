"""Each kind of file that people send by mistake is named, with what to do about it."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenr_luigi.pictures import door, heif, kinds
from tests.pictures import WHOLE
from tests.pictures.test_door import drawn, encoded


def box(brand: str, *others: str) -> bytes:
    """How an ISO file begins."""
    brands = "".join([brand, "\0\0\0\0", *others]).encode()
    return (
        struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + struct.pack(">I", 100) + b"meta" + bytes(92)
    )


def tiff(order: str, *tags: int) -> bytes:
    fields = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, 1) for tag in sorted(tags))
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(f"{order}IH", 8, len(tags)) + fields + bytes(4)


def archive(first: str) -> bytes:
    return b"PK\3\4" + bytes(22) + struct.pack("<HH", len(first), 0) + first.encode() + bytes(50)


XML = b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- drawn by hand -->\n'
WHAT = {
    "HEIC": (box("heic", "mif1", "heic"), "a HEIC photograph.*JPEG"),
    "HEIC of another phone": (box("mif1", "heic"), "a HEIC photograph"),
    "a burst of HEIC": (box("msf1", "hevc", "mif1"), "a HEIC photograph"),
    "HEIF": (box("mif1", "miaf"), "a HEIF picture"),
    "TIFF": (encoded(drawn(), "TIFF"), "a TIFF picture.*JPEG or PNG"),
    "TIFF of a scanner": (tiff(">", 0x100, 0x10F), "a TIFF picture"),
    "BigTIFF": (b"II+\0\x08\0\0\0" + bytes(40), "a TIFF picture"),
    "JPEG XL": (b"\xff\x0a" + bytes(40), "a JPEG XL picture"),
    "JPEG XL in boxes": (b"\0\0\0\x0cJXL \r\n\x87\n" + box("jxl "), "a JPEG XL picture"),
    "JPEG 2000": (encoded(drawn(), "JPEG2000"), "a JPEG 2000 picture"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
    "SVG after a head": (XML + b"<!DOCTYPE svg PUBLIC ''>\n<svg>", "an SVG drawing"),
    "ICO": (encoded(drawn(), "ICO"), "an icon"),
    "ICNS": (b"icns" + bytes(40), "an icon"),
    "PDF": (encoded(drawn(), "PDF"), "a PDF document"),
    "PDF after blanks": (b"\r\n\r\n%PDF-1.4", "a PDF document"),
    "MP4": (box("isom", "iso2", "avc1", "mp41"), "a movie.*screenshot"),
    "MP4 of a phone": (box("mp42", "isom"), "a movie"),
    "MOV": (box("qt  "), "a movie"),
    "old MOV": (b"\0\0\0\x08wide\0\0\0\0mdat", "a movie"),
    "3GP": (box("3gp5"), "a movie"),
    "WebM": (b"\x1aE\xdf\xa3" + bytes(40), "a movie"),
    "AVI": (b"RIFF\0\0\0\0AVI LIST", "a movie"),
    "MPEG": (b"\0\0\x01\xba" + bytes(40), "a movie"),
    "sound": (b"RIFF\0\0\0\0WAVEfmt ", "a sound recording"),
    "M4A": (box("M4A "), "a sound recording"),
    "PSD": (b"8BPS\0\x01" + bytes(40), "a Photoshop document"),
    "XCF": (b"gimp xcf v011\0", "a GIMP document"),
    "a page": (b"<!DOCTYPE html><html><body><svg></svg>", "a web page.*address"),
    "a page after a head": (XML + b"<html xmlns='x'>", "a web page"),
    "a page without a head": (b"\n  <TITLE>404</TITLE>", "a web page"),
    "CR2": (b"II*\0\x10\0\0\0CR\x02\0" + bytes(40), "a camera's raw file.*export"),
    "CR3": (box("crx ", "crx ", "isom"), "a camera's raw file"),
    "NEF": (tiff(">", 0xFE, 0x10F, 0x14A), "a camera's raw file"),
    "ARW": (tiff("<", 0xFE, 0x10F, 0x14A), "a camera's raw file"),
    "DNG": (tiff("<", 0xFE, 0x10F, 0xC612), "a camera's raw file"),
    "ORF": (b"IIRO\x08\0\0\0" + bytes(40), "a camera's raw file"),
    "RW2": (b"IIU\0\x18\0\0\0" + bytes(40), "a camera's raw file"),
    "RAF": (b"FUJIFILMCCD-RAW 0201", "a camera's raw file"),
    "ZIP": (archive("holiday/1.jpg"), "an archive.*unpack"),
    "DOCX": (archive("[Content_Types].xml"), "a document of an office program"),
    "ODT": (archive("mimetypeapplication/vnd.oasis.opendocument.text"), "a document of an office program"),
    "DOC": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(40), "a document of an office program"),
    "gzip": (b"\x1f\x8b\x08" + bytes(40), "an archive"),
    "text": ("Was blüht denn da?".encode(), "a text"),
    "text whose first 4096 bytes end within a letter": (("a" + "ü" * 3000).encode(), "a text"),
    "text in UTF-16": ("Löwenzahn".encode("utf-16"), "a text"),
    "JSON": (json.dumps({"error": "no such picture"}).encode(), "a text"),
    "a data address": (b"data:image/png;base64,iVBOR", "the address of a picture"),
    "SVG in UTF-16": ("<svg xmlns='http://www.w3.org/2000/svg'/>".encode("utf-16"), "an SVG drawing"),
    "a page in UTF-16": ("<!DOCTYPE html>".encode("utf-16"), "a web page"),
    "PNG with other line ends": (b"\x89PNG\n\x1a\n\0\0\0\x0dIHDR", "a PNG that was taken for a text"),
    "PNG of seven bits": (b"\x09PNG\r\n\x1a\n\0\0\0\x0dIHDR", "a PNG that was taken for a text"),
    "HEIF of video": (box("avci", "mif1"), "a HEIF picture"),
    "ANI": (b"RIFF\0\0\0\0ACONLIST", "an icon"),
    "Flash": (b"CWS\x09" + bytes(40), "a movie"),
    "DjVu": (b"AT&TFORM\0\0\0\0DJVU", "a DjVu document"),
    "EPS": (encoded(drawn(), "EPS"), "a drawing"),
    "EPS for Windows": (b"\xc5\xd0\xd3\xc6" + bytes(40), "a drawing"),
    "TGA": (encoded(drawn(), "TGA"), "a TGA picture"),
    "TGA by runs": (encoded(drawn("RGBA"), "TGA", compression="tga_rle"), "a TGA picture"),
    "PPM": (encoded(drawn(), "PPM"), "browsers do not show"),
    "PCX": (encoded(drawn(), "PCX"), "browsers do not show"),
    "DICOM": (bytes(128) + b"DICM", "a medical picture"),
    "of macOS": (b"\0\x05\x16\x07\0\x02\0\0Mac OS X", "what macOS keeps beside"),
    "of Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    "empty": (b"", "the file is empty"),
    "zeros": (bytes(5000), "a file of zeros"),
    "noise": (bytes(range(200, 256)) * 9, "known format.*JPEG, PNG, WebP, GIF, BMP or AVIF"),
}  # fmt: skip


@pytest.mark.parametrize("name", WHAT)
def test_what_came_is_named_with_what_to_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heif, "is_read", lambda: False)
    data, words = WHAT[name]
    with pytest.raises(door.UnusablePicture, match=words) as found:
        door.open_picture(data, at_least=224)
    assert found.value.reason == "format" and ": " in str(found.value) and len(str(found.value)) < 230


def test_a_movie_is_named_before_its_size_is() -> None:
    data = box("isom", "mp41") + b"abcd" * (door.MAX_BYTES // 4 + 1)
    with pytest.raises(door.UnusablePicture, match="a movie"):
        door.open_picture(data, WHOLE)


@pytest.mark.parametrize("kind", door.FORMATS)
def test_our_own_formats_are_told_and_a_beginning_of_one_is_said_to_break_off(kind: str) -> None:
    data = encoded(drawn(size=(640, 480)), kind)
    assert kinds.format_of(data) == kind
    for share in (2, 3):
        with pytest.raises(
            door.UnusablePicture, match=r"breaks off before its end|its beginning is damaged or cut off"
        ):
            door.open_picture(data[: len(data) // share], at_least=224)


@given(st.binary(max_size=400), st.sampled_from([data for data, _ in WHAT.values()]), st.integers(0, 400))
@settings(max_examples=300)
def test_anything_has_a_sentence(noise: bytes, known: bytes, cut: int) -> None:
    for data in (noise, known[:cut] + noise, noise[:4] + known[4:]):
        said = kinds.what_else(data)
        assert ": " in said and "\n" not in said and len(said) < 200
