"""What a file is, by its content: one of the formats that are read, or what else, with what to do about that.

The table is our own since its sentences are what counts. Libraries that tell kinds of files by their first bytes
(puremagic, filetype) give names, and for a web page, a text or a camera's raw file not the right ones.
"""

from __future__ import annotations

import codecs
import re
import struct

#: The formats that are read, by Pillow's names, and how they begin. MPO, which phones write as JPEG, is JPEG here.
FORMATS = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WEBP": rb"RIFF.{4}WEBP",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    # A box of at most 255 bytes that names the brand, as the first or another one (ISO/IEC 14496-12, 4.3).
    "AVIF": rb"\0\0\0.ftyp(.{4}){0,60}?(avif|avis)",
}
#: Those that are decoded in a process apart (apart.py), where the extra that does it is installed.
HEIC = rb"\0\0\0.ftyp(.{4}){0,60}?(hei[cxms]|hev[cxms])"
HEIF = rb".{4}ftyp(mif1|msf1|miaf|heif)"
APART = {"HEIC": HEIC + b"|" + HEIF}
NAMES = "JPEG, PNG, WebP, GIF, BMP or AVIF"
#: Those that are read only of what a person gives of their own: a decoder of many methods is no place for strangers.
OWN = {"TIFF": rb"II[*+]\0|MM\0[*+]"}

SAVE = "save it as JPEG or PNG and try again"
EXPORT = "export it as JPEG and try again"
TAKE_OUT = "take the picture out of it and try again"
SINGLE = "take a single picture out of it, or a screenshot, and try again"
PHONE = "share it as JPEG (on an iPhone: Settings, Camera, Formats, Most Compatible) or save it as one and try again"
ITSELF = "save the picture itself and try again, or give the picture's own address"
CHOOSE = f"choose a picture in {NAMES}"

A_TIFF = "a TIFF picture"
#: How a file begins, what it is, and what to do. The first row that fits counts.
ROWS = [
    (HEIC, "a HEIC photograph, as phones take them", PHONE),
    (rb".{4}ftyp(mif1|msf1|miaf|heif|avc[is]|j2k[is])", "a HEIF picture", PHONE),
    (rb".PNG(\r\n|\n|\r)|\x89PNG", "a PNG that was taken for a text on its way", "copy or download it again, as it is"),
    (rb".{4}ftypcrx|(II\*\0|MM\0\*).{4}CR|II\x1a\0.{4}HEAP|FUJIFILMCCD-RAW|II(R[OS]|U\0)|MMOR|FOVb|\0MRM",
     "a camera's raw file", EXPORT),
    (rb".{4}ftyp(M4[AB]|F4A)|RIFF.{4}WAVE|FORM.{4}AIF|ID3|\xff[\xf1-\xf3\xf9-\xfb]|OggS|fLaC|MThd|#!AMR",
     "a sound recording", CHOOSE),
    (rb".{4}(ftyp|moov|mdat)|\0.{3}(wide|free|skip|pnot)|RIFF.{4}AVI |\x1aE\xdf\xa3|\0\0\x01[\xb3\xba]|FLV\x01|"
     rb"0&\xb2u|(G.{187}){2}G|[FCZ]WS[\x01-\x40]", "a movie", SINGLE),
    (OWN["TIFF"], A_TIFF, SAVE),
    (rb"\0\0\0\x0cJXL |\xff\x0a", "a JPEG XL picture", SAVE),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 picture", SAVE),
    (rb"II\xbc|\x59\xa6\x6a\x95|\x01\xda|qoif|DDS |v/1\x01|#\?R|SIMPLE  =|FLIF|BPG\xfb|\x8a[MJ]NG|/\* XPM|"
     rb"\n[\0-\x05]\x01[\x01\x02\x04\x08]|P[1-7Ff]\s",
     "a picture in a format that browsers do not show", SAVE),
    (rb"8BP[SB]", "a Photoshop document (PSD)", EXPORT),
    (rb"gimp xcf", "a GIMP document (XCF)", EXPORT),
    (rb"\0\0[\x01\x02]\0[^\0]\0|icns|RIFF.{4}ACON", "an icon (ICO, CUR, ANI or ICNS)", SAVE),
    (rb"%!PS|\xc5\xd0\xd3\xc6|\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF", "a drawing (EPS, PostScript, WMF or EMF)", SAVE),
    (rb".{128}DICM", "a medical picture (DICOM)", EXPORT),
    (rb".{0,1000}?%PDF-", "a PDF document", TAKE_OUT),
    (rb"AT&TFORM", "a DjVu document", TAKE_OUT),
    (rb"\s*data:image/", "the address of a picture (data:)", "open it in a browser, and save the picture"),
    (rb"PK\x03\x04.{26}(mimetype|\[Content_Types\]|_rels/|docProps/|word/|ppt/|xl/)|\xd0\xcf\x11\xe0|\{\\rtf",
     "a document of an office program", TAKE_OUT),
    (rb"PK[\x03\x05\x07]|Rar!|7z\xbc\xaf|\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|.{257}ustar",
     "an archive (ZIP or alike)", "unpack it, and choose the pictures in it"),
    (rb"\0\x05\x16[\0\x07]", "what macOS keeps beside a file", "choose the file whose name is the same without ._"),
    (rb"version https://git-lfs", "a pointer of Git LFS in place of a file", "get the file by `git lfs pull`"),
    (rb"\0{32}", "a file of zeros, whose content is lost", "copy or download it again"),
    (rb".[\0\x01][\x01-\x03\x09-\x0b].{13}[\x08\x0f\x10\x18\x20][\0-\x3f]", "a TGA picture", SAVE),
]  # fmt: skip
#: What a text says of itself, wherever it first does.
MARKUP = re.compile(rb"<(svg|(!doctype )?html|head|body|title|script|meta)\b", re.IGNORECASE)
#: Tags of a TIFF file (TIFF 6.0, Section 8; DNG 1.7): its camera's maker, pictures beside the first, a DNG.
MAKER, BESIDE, DNG = 0x10F, 0x14A, 0xC612


def format_of(data: bytes, own: bool = False) -> str | None:
    """Which of FORMATS and APART the bytes begin as, if one; `own`: or of OWN."""
    for name, begin in (FORMATS | APART | (OWN if own else {})).items():
        if re.match(begin, data, re.DOTALL):
            return name if name not in OWN or _what(data)[0] == A_TIFF else None
    return None


def what_else(data: bytes) -> str:
    """What bytes that are none of FORMATS are, and what to do: a sentence."""
    if not data:
        return "the file is empty: choose another one, or copy or download it again"
    what, remedy = _what(data)
    return f"this is {what}, which is not read: {remedy}" if what else f"this is {remedy}"


def _what(data: bytes) -> tuple[str, str]:
    """What it is, empty where nobody knows, and what to do."""
    head = data[:4096]
    for begin, what, remedy in ROWS:
        if re.match(begin, head, re.DOTALL):
            return ("a camera's raw file", EXPORT) if what == A_TIFF and _is_raw(data) else (what, remedy)
    if not _is_text(head):
        return "", f"not a picture in a known format: {CHOOSE}"
    # Every other byte of UTF-16 is zero there.
    if found := MARKUP.search(head.replace(b"\0", b"")):
        return ("an SVG drawing", SAVE) if found[1].lower() == b"svg" else ("a web page", ITSELF)
    return "a text", CHOOSE


def _is_text(head: bytes) -> bool:
    """Whether these first bytes are text, in UTF-8 or, as they then say, UTF-16."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return not re.search(r"[\0-\x08\x0e-\x1a\x1c-\x1f]", text)


def _is_raw(data: bytes) -> bool:
    """Whether a TIFF file is a DNG, or of a camera (NEF, ARW, PEF, SRW): a preview with the picture itself beside."""
    order = "<" if data.startswith(b"II") else ">"
    (at,) = struct.unpack_from(f"{order}I", data[:8].ljust(8), 4)
    (count,) = struct.unpack_from(f"{order}H", data[at : at + 2].ljust(2, b"\0"))
    fields = range(at + 2, min(at + 2 + 12 * count, len(data) - 11), 12)
    tags = {struct.unpack_from(f"{order}H", data, field)[0] for field in fields}
    return DNG in tags or {MAKER, BESIDE} <= tags
