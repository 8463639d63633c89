"""What stands under every table and figure: scale, protocol, seed, commit, number of pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

TINY_LABEL = "tiny scale, not comparable with the paper"


@dataclass(frozen=True, slots=True)
class Caption:
    """A title and what its numbers depend on; empty parts are left out of the text.

    Args:
        title: one line, what is shown.
        scale: `tiny` (labelled wherever it is printed), `sd21`, or empty where no model is shown.
        protocol: a `ScoreProtocol` as text.
        seed: one seed or several.
        commit: the code's commit; printed by its first 7 characters, and `+changes` where it is.
        n: number of pictures behind each number.
        note: a sentence without which the numbers would be misread.
    """

    title: str
    scale: str = ""
    protocol: str = ""
    seed: int | Sequence[int] | None = None
    commit: str = ""
    n: int | None = None
    note: str = ""

    @property
    def heading(self) -> str:
        """The title, with the label of the tiny scale where it applies."""
        return f"{self.title} ({TINY_LABEL})" if self.scale == "tiny" else self.title

    @property
    def facts(self) -> dict[str, str]:
        """Name to text of everything known beside the title, in the order of printing."""
        known = {
            "scale": self.scale,
            "n": "" if self.n is None else f"{self.n}",
            "protocol": str(self.protocol),
            "seed": self._seed_text(),
            "commit": self.commit[:7] + "+changes" * self.commit.endswith("+changes"),
            "note": self.note,
        }
        return {name: text for name, text in known.items() if text}

    def _seed_text(self) -> str:
        if self.seed is None:
            return ""
        seeds = [self.seed] if isinstance(self.seed, int) else self.seed
        return " ".join(str(seed) for seed in seeds)

    @property
    def details(self) -> str:
        """The facts as one line; the tiny scale stands in the heading already."""
        told = {"scale"} if self.scale == "tiny" else set()
        return "; ".join(f"{name} {text}" for name, text in self.facts.items() if name not in told)

    def __str__(self) -> str:
        return f"{self.heading}. {self.details}." if self.details else f"{self.heading}."


def wrapped(text: str, characters: int) -> str:
    """`text` in as few lines of at most `characters` as it takes, all of them about as long."""
    lines = textwrap.wrap(text, characters)
    for narrower in range(-(-len(text) // max(len(lines), 1)), characters):
        tried = textwrap.wrap(text, narrower, break_long_words=False)
        if len(tried) == len(lines) and max(map(len, tried)) <= characters:
            return "\n".join(tried)
    return "\n".join(lines)
