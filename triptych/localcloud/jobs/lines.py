"""Cut a stream of bytes into lines of text."""

from __future__ import annotations

LONGEST_LINE_BYTES = 256 * 1024
"""CloudWatch Logs' own limit of one event; a longer line is cut into several"""


class LineSplitter:
    """Feed it bytes as they come; it answers with the lines that are complete, without their line ends."""

    def __init__(self) -> None:
        self._partial = b""

    def feed(self, data: bytes) -> list[str]:
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()
        while len(self._partial) > LONGEST_LINE_BYTES:
            lines.append(self._partial[:LONGEST_LINE_BYTES])
            self._partial = self._partial[LONGEST_LINE_BYTES:]
        return [_text(piece) for line in lines for piece in _pieces(line)]

    def rest(self) -> list[str]:
        """What came after the last line end."""
        partial, self._partial = self._partial, b""
        return [_text(partial)] if partial else []


def _pieces(line: bytes) -> list[bytes]:
    if len(line) <= LONGEST_LINE_BYTES:
        return [line]
    return [line[start : start + LONGEST_LINE_BYTES] for start in range(0, len(line), LONGEST_LINE_BYTES)]


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").decode("utf-8", errors="replace")
