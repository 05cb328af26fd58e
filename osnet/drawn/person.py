"""The people: the attributes of one identity, and a crowd of identities that can be told apart."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from osnet.drawn.streams import stream, weighted

COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (30, 30, 34),
    "charcoal": (66, 68, 74),
    "grey": (134, 136, 140),
    "white": (226, 226, 222),
    "navy": (36, 46, 86),
    "denim": (74, 98, 142),
    "sky": (136, 176, 212),
    "teal": (38, 122, 122),
    "green": (52, 108, 64),
    "olive": (102, 102, 62),
    "beige": (194, 174, 140),
    "brown": (104, 74, 52),
    "red": (176, 42, 44),
    "burgundy": (106, 30, 48),
    "pink": (220, 146, 166),
    "yellow": (222, 186, 64),
    "orange": (214, 116, 48),
    "purple": (102, 70, 136),
}
SKINS = ((244, 208, 182), (228, 184, 152), (204, 156, 120), (168, 118, 86), (124, 84, 60), (86, 58, 44))
HAIR_COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (28, 24, 24),
    "brown": (74, 50, 36),
    "chestnut": (122, 78, 48),
    "blond": (206, 172, 112),
    "red": (160, 76, 40),
    "grey": (158, 156, 154),
}
# Most people wear the same few pairs of colours, which is why a colour histogram can't tell them apart.
USUAL_PAIRS = (
    ("black", "black"),
    ("black", "denim"),
    ("black", "charcoal"),
    ("charcoal", "black"),
    ("grey", "black"),
    ("grey", "denim"),
    ("white", "denim"),
    ("white", "black"),
    ("navy", "beige"),
    ("navy", "charcoal"),
    ("denim", "black"),
    ("beige", "navy"),
)
UPPERS = {"tshirt": 3, "shirt": 2.5, "hoodie": 2.5, "jacket": 2.5, "coat": 2, "vest": 1.2, "tank": 1, "dress": 1.8}
PATTERNS = {"plain": 4, "bands": 2, "pinstripes": 1.2, "checks": 1.6, "dots": 1.2, "yoke": 1.6, "logo": 1.4}
LOWERS = {"trousers": 4, "wide": 1.4, "shorts": 2, "skirt": 1.6, "maxi": 0.9, "leggings": 1.4}
HAIRS = {"short": 3, "cropped": 1.5, "bald": 0.7, "bob": 1.5, "long": 2, "ponytail": 1.5, "bun": 1, "afro": 0.8}
HEADWEAR = {"none": 6, "cap": 1.4, "beanie": 1.2, "brimmed": 0.7, "headscarf": 0.7}
BAGS = {"none": 3, "backpack": 2.4, "handbag": 1.6, "messenger": 1.8, "carrier": 1, "suitcase": 0.8}
SHOES = {"low": 3, "trainers": 3, "boots": 1.8}
WARM = {"coat", "jacket", "vest", "hoodie"}

LEAST_DIFFERENCES = 3
"""Any two people of one crowd differ in at least this many of the nine attributes of `Person.look`."""


@dataclass(frozen=True)
class Person:
    """One identity. Colours are names in `COLOURS` (hair: `HAIR_COLOURS`; skin: index into `SKINS`).

    Attributes:
        key: seed of the person's own random numbers (shades of colours, folds of cloth).
        height: metres, 1.50 to 1.96.
        girth: width relative to the average, 0.84 to 1.28.
        curve: 0 for broad shoulders and a straight waist, 1 for narrow shoulders and broad hips.
    """

    key: str
    height: float
    girth: float
    curve: float
    skin: int
    hair: str
    hair_colour: str
    headwear: str
    headwear_colour: str
    beard: bool
    glasses: bool
    upper: str
    upper_colour: str
    accent_colour: str
    inner_colour: str
    pattern: str
    lower: str
    lower_colour: str
    lower_pattern: str
    shoes: str
    shoe_colour: str
    bag: str
    bag_colour: str
    bag_side: int
    scarf: str

    @property
    def look(self) -> tuple[str, ...]:
        """The nine attributes that can be seen from every side, as words."""
        frame = ("slim", "medium", "broad")[(self.girth > 0.97) + (self.girth > 1.11)]
        head = (
            f"{self.hair} {self.hair_colour}" if self.headwear == "none" else f"{self.headwear} {self.headwear_colour}"
        )
        bag = self.bag if self.bag == "none" else f"{self.bag} {self.bag_colour}"
        shoes = f"{self.shoes} {self.shoe_colour}"
        # A logo is visible from the front only; from behind the garment looks plain.
        pattern = "plain" if self.pattern in ("plain", "logo") else f"{self.pattern} {self.accent_colour}"
        return (self.upper, self.upper_colour, pattern, self.lower, self.lower_colour, head, bag, shoes, frame)


def draw_person(key: str, rng: random.Random) -> Person:
    """Draw a person with the numbers of `rng`, independently of anybody else."""
    names = list(COLOURS)
    upper_colour, lower_colour = (
        rng.choice(USUAL_PAIRS) if rng.random() < 0.6 else (rng.choice(names), rng.choice(names))
    )
    curve = rng.random()
    upper = weighted(rng, UPPERS)
    if upper == "dress" and curve < 0.4:
        upper = "shirt"
    lower = weighted(rng, LOWERS)
    if lower in ("skirt", "maxi") and curve < 0.4:
        lower = "trousers"
    if upper == "dress":
        lower = "leggings" if rng.random() < 0.5 else "skirt"
    hair = weighted(rng, HAIRS)
    if curve > 0.55 and hair in ("bald", "cropped"):
        hair = "long"
    elif curve < 0.45 and hair in ("bob", "bun"):
        hair = "short"
    headwear = weighted(rng, HEADWEAR)
    if headwear == "headscarf" and curve < 0.5:
        headwear = "cap"
    skin = rng.randrange(len(SKINS))
    hair_colour = rng.choice(("black", "black", "brown", "grey") if skin > 2 else tuple(HAIR_COLOURS))
    accent = rng.choice([n for n in names if n != upper_colour])
    return Person(
        key=key,
        height=rng.gauss(1.77 - 0.13 * curve, 0.065),
        girth=min(1.28, max(0.84, rng.gauss(1.03, 0.11))),
        curve=curve,
        skin=skin,
        hair=hair,
        hair_colour=hair_colour,
        headwear=headwear,
        headwear_colour=rng.choice(names),
        beard=curve < 0.4 and rng.random() < 0.4,
        glasses=rng.random() < 0.25,
        upper=upper,
        upper_colour=upper_colour,
        accent_colour=accent,
        inner_colour=rng.choice([n for n in names if n != upper_colour]),
        pattern=weighted(rng, PATTERNS),
        lower=lower,
        lower_colour=lower_colour,
        lower_pattern=weighted(rng, {"plain": 5, "sidestripe": 1.2, "checks": 1, "bands": 0.6}),
        shoes=weighted(rng, SHOES),
        shoe_colour=rng.choice(("black", "black", "white", "white", "brown", "grey", "red", "navy", "beige", "pink")),
        bag=weighted(rng, BAGS),
        bag_colour=rng.choice(names),
        bag_side=rng.choice((-1, 1)),
        scarf=rng.choice(names) if upper in WARM and rng.random() < 0.3 else "none",
    )


def draw_crowd(seed: int, count: int) -> list[Person]:
    """Draw `count` people, any two of whom differ in at least `LEAST_DIFFERENCES` attributes of `Person.look`.

    The first n people of a larger crowd of the same seed are the crowd of n.
    """
    people: list[Person] = []
    words: dict[str, int] = {}
    looks = np.zeros((count, 9), np.int32)
    for number in range(count):
        rng = stream("person", seed, number)
        while True:
            person = draw_person(f"{seed}/{number}", rng)
            look = np.array([words.setdefault(word, len(words)) for word in person.look], np.int32)
            if not number or int((looks[:number] != look).sum(1).min()) >= LEAST_DIFFERENCES:
                break
        looks[number] = look
        people.append(person)
    return people
