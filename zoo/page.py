"""What was read: a document of pages of blocks of lines of words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoo import geometry
from zoo.charset import Reading

DIVIDED = re.compile("([^\\W_]+)[-\u2010\u00ad]$")  # a text whose last word may go on in the next line


@dataclass(frozen=True, eq=False)
class Word:
    """A word and where it stands.

    Attributes:
        text: as read.
        confidence: in [0, 1].
        polygon: (4, 2) float32, page pixels, clockwise from the top left of the text, which may be turned.
        characters: the confidence of each character of the text.
        detection: the detector's score of the place, in [0, 1].
    """

    text: str
    confidence: float
    polygon: np.ndarray
    characters: tuple[float, ...] = ()
    detection: float = 1.0

    @property
    def words(self) -> tuple[Word, ...]:
        return (self,)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Word):
            return NotImplemented
        same = (self.text, self.confidence, self.characters, self.detection) == (
            other.text, other.confidence, other.characters, other.detection,
        )  # fmt: skip
        return same and np.array_equal(self.polygon, other.polygon)

    def __hash__(self) -> int:
        return hash((self.text, self.confidence))

    def to_dict(self) -> dict[str, Any]:
        """The word in plain Python values."""
        return {
            "text": self.text,
            "confidence": self.confidence,
            "polygon": np.asarray(self.polygon).tolist(),
            "characters": list(self.characters),
            "detection": self.detection,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Word:
        """The word that `to_dict` wrote."""
        polygon = np.array(data["polygon"], "float32")
        return cls(data["text"], data["confidence"], polygon, tuple(data["characters"]), data["detection"])


@dataclass(frozen=True)
class Line:
    """Words from left to right."""

    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    def to_dict(self) -> dict[str, Any]:
        return {"words": [word.to_dict() for word in self.words]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Line:
        return cls(tuple(map(Word.from_dict, data["words"])))


@dataclass(frozen=True)
class Block:
    """Lines from top to bottom."""

    lines: tuple[Line, ...]

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for line in self.lines for word in line.words)

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)

    @property
    def paragraph(self) -> str:
        """Its lines in a row. A word divided at the end of a line is whole again, and keeps its hyphen where a capital
        letter or a digit follows, as in Alsace-Lorraine, or a single letter stands before."""
        text = ""
        for line in self.lines:
            divided, following = DIVIDED.search(text), line.text[:1]
            if divided and following.islower() and len(divided[1]) > 1:
                text = text[:-1] + line.text
            elif divided and following.isalnum():
                text += line.text
            else:
                text += f" {line.text}" if text else line.text
        return text

    def to_dict(self) -> dict[str, Any]:
        return {"lines": [line.to_dict() for line in self.lines]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Block:
        return cls(tuple(map(Line.from_dict, data["lines"])))


@dataclass(frozen=True)
class Page:
    """Blocks in reading order.

    Attributes:
        source: path or URL of the file.
        number: of the page in its file, from 1.
        width: page pixels.
        height: page pixels.
        blocks: none where the page holds no text.
        seconds: that reading took; pages that differ in nothing else are equal.
    """

    source: str
    number: int
    width: int
    height: int
    blocks: tuple[Block, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    @property
    def lines(self) -> tuple[Line, ...]:
        return tuple(line for block in self.blocks for line in block.lines)

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for block in self.blocks for word in block.words)

    @property
    def text(self) -> str:
        """Lines; an empty one between blocks."""
        return "\n\n".join(block.text for block in self.blocks)

    @property
    def paragraphs(self) -> tuple[str, ...]:
        """Of each block its lines in a row, with words whole that are divided at ends of lines."""
        return tuple(block.paragraph for block in self.blocks)

    def to_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "number": self.number,
            "width": self.width,
            "height": self.height,
            "seconds": self.seconds,
            "blocks": [block.to_dict() for block in self.blocks],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Page:
        return cls(**data | {"blocks": tuple(map(Block.from_dict, data["blocks"]))})


@dataclass(frozen=True)
class Document:
    """Pages in their order; indexing and iterating give pages."""

    pages: tuple[Page, ...]

    def __len__(self) -> int:
        return len(self.pages)

    def __getitem__(self, index: int) -> Page:
        return self.pages[index]

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for page in self.pages for word in page.words)

    @property
    def text(self) -> str:
        """Pages, with a form feed between them."""
        return "\f".join(page.text for page in self.pages)

    @property
    def paragraphs(self) -> tuple[str, ...]:
        """Those of all pages."""
        return tuple(paragraph for page in self.pages for paragraph in page.paragraphs)

    def to_dict(self) -> dict[str, Any]:
        return {"pages": [page.to_dict() for page in self.pages]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Document:
        return cls(tuple(map(Page.from_dict, data["pages"])))


def assemble(boxes: np.ndarray, readings: Sequence[Reading], detection: Sequence[float]) -> tuple[Block, ...]:
    """Blocks of what was read, in reading order; where nothing was read there is no word.

    Args:
        boxes: (N, 4, 2) page pixels, clockwise from the text's top left.
        readings: what stands in each.
        detection: score of each.
    """
    words = [
        Word(reading.text, reading.score, np.asarray(box, "float32"), reading.characters, float(score))
        for box, reading, score in zip(boxes, readings, detection, strict=True)
        if reading.text
    ]
    places = np.array([word.polygon for word in words], "float32").reshape(-1, 4, 2)
    return tuple(
        Block(tuple(Line(tuple(words[i] for i in line)) for line in block)) for block in geometry.layout(places)
    )
