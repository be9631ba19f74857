"""PDFs, made by hand."""

import hashlib
from collections.abc import Sequence


def document(parts: Sequence[bytes], more: bytes = b"") -> bytes:
    """The PDF of these objects, the first its catalogue; `more` is its trailer's."""
    data, places = b"%PDF-1.7\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(data))
        data += b"%d 0 obj %s endobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start, count = len(data), len(parts) + 1
    data += b"xref\n0 %d\n0000000000 65535 f \n%s" % (count, table)
    return data + b"trailer << /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF" % (count, more, start)


def rc4(key: bytes, data: bytes) -> bytes:
    state, j, out = list(range(256)), 0, []
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    i = j = 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


def locked(password: bytes) -> bytes:
    """A PDF of one empty page that a password opens: the standard security handler, revision 2 (PDF 1.7, 7.6.3)."""
    padding = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
    padded, permitted = (password + padding)[:32], (-4).to_bytes(4, "little", signed=True)
    owner = rc4(hashlib.md5(padded).digest()[:5], padded)
    user = rc4(hashlib.md5(padded + owner + permitted + b"0123456789abcdef").digest()[:5], padding)
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 50] >>",
        b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>" % (owner.hex().encode(), user.hex().encode()),
    ]
    return document(parts, b"/Encrypt 4 0 R /ID [<%s> <%s>]" % ((b"0123456789abcdef".hex().encode(),) * 2))
