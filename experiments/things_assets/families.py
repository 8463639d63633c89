"""Names, categories and families of the rendered objects, from emojibase's CLDR table."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

SKIN_TONES = ("1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff")
_LEFT_OUT = ("flags", "component", "?")
_UNWANTED = ("1f595",)  # a rude gesture
_PEOPLE = r"man|woman|person|men|women|people|boy|girl|adult|child|mx|mrs|mr|older|old"
_COLOURS = r"red|orange|yellow|green|blue|light blue|purple|pink|brown|black|white|grey|colored"
_SIZES = r"small|medium|large|medium-small|medium-large|heavy|big|tiny|broken|beating|sparkling"
_STRIPPED = re.compile(rf"\b(?:{_PEOPLE}|{_COLOURS}|{_SIZES}|hollow|filled)\b[.,]?")
_CLOCK = re.compile(r"^[a-z]+(?: o’clock|-thirty)$")


def table(folder: Path) -> dict[str, dict[str, Any]]:
    """What is known of each object, by its code as the files spell it, without `-fe0f`."""
    names = json.loads((folder / "meta" / "groups.json").read_text("utf-8"))
    facts = {}
    for entry in json.loads((folder / "en" / "data.json").read_text("utf-8")):
        group = names["groups"].get(str(entry.get("group")), "?")
        category = names["subgroups"].get(str(entry.get("subgroup")), "?")
        if group not in _LEFT_OUT and plain_code(entry["hexcode"]) not in _UNWANTED:
            facts[plain_code(entry["hexcode"])] = {
                "name": entry["label"],
                "group": group,
                "category": category,
                "family": family(entry["label"], category),
            }
    return facts


def plain_code(code: str) -> str:
    """A code as a key: lower case, without variation selectors."""
    return code.lower().replace("-fe0f", "")


def is_toned(code: str) -> bool:
    """Whether a file is one of five skin tones of another one."""
    return any(tone in code for tone in SKIN_TONES)


def family(label: str, category: str) -> str:
    """What objects share that are hard to tell apart: two of one family never part by split.

    Colour, size, sex and direction are dropped; all yellow faces are one family, all clocks one,
    all buttons one; else the last word before "with", ":" or "of" decides ("red apple" -> "apple").
    """
    if category.startswith(("face-", "cat-face", "monkey-face", "person", "hand", "family")):
        stripped = _STRIPPED.sub("", label.split(":")[0]).strip()
        return "face" if category.startswith("face-") else stripped or category
    if _CLOCK.match(label):
        return "clock face"
    if category in ("keycap", "alphanum", "av-symbol", "zodiac", "arrow", "geometric", "heart"):
        return category
    head = re.split(r":| with | of | in | over | on ", label.lower())[0]
    stripped = _STRIPPED.sub("", head).strip() or head
    return stripped.split()[-1]
