"""Made-up documents in the formats that the data readers take.

The sentences follow a small grammar, so that a tiny model learns something of them within a few
steps. One seed gives one text; no text of one document occurs in another.
"""

import itertools
from collections.abc import Iterator
from random import Random


def _words(text: str) -> list[str]:
    return text.split()


OBJECTS = _words(
    "lamp kettle ladder basket hammer bottle blanket mirror violin helmet wallet carpet "
    "umbrella bucket pillow camera shovel candle saddle drum"
)
CONTAINERS = _words("box drawer bag cupboard chest crate closet locker cabinet trunk")
ROOMS = _words("kitchen garage attic cellar workshop office library hall")
COLOURS = _words("red blue green yellow white black brown grey")
PEOPLE = _words("Ada Ben Cleo Dan Eve Finn Gwen Hal Ida Jon Kim Leo Mia Ned Ola Pam")
CREATURES = _words("otter falcon beetle salmon badger lizard sparrow turtle weasel heron")
HABITATS = _words("river forest meadow desert swamp mountain cave lake")
PLANTS = _words("clover willow fern cactus thistle moss reed lily")
METALS = _words("iron copper silver nickel zinc lead tin gold")
# What the first object is, what the second is, and the sentence that tells them apart.
CONTRASTS = [
    ("large", "small", "The {a} did not fit into the {b} because the _ was too {trait}."),
    ("wide", "narrow", "The {a} could not be put in the {b} since the _ was too {trait}."),
    ("heavy", "weak", "The {a} broke the {b} when it was lifted because the _ was too {trait}."),
]
EVENTS = [
    ("lent the {thing} to", "grateful", "angry", "asleep"),
    ("broke the {thing} of", "angry", "grateful", "hungry"),
    ("hid the {thing} from", "worried", "proud", "cold"),
    ("found the lost {thing} of", "relieved", "jealous", "sick"),
]
SENTENCES = [
    "The {colour} {thing} is kept in the {container} of the {room}.",
    "{person} carries the {thing} from the {room} to the {other_room} every day.",
    "When {person} needs the {thing}, it is always in the {container}.",
    "The {thing} was {colour} before {person} painted it {other_colour}.",
    "In the {room} there are {number} {colour} things, and one of them is the {thing}.",
]
CLASSES = {"an animal": CREATURES, "a plant": PLANTS, "a metal": METALS, "a room": ROOMS}


def _chosen(random: Random, count: int, *words: list) -> list[tuple]:
    """``count`` different combinations of one entry of each list."""
    return random.sample(list(itertools.product(*words)), count)


def squad(random: Random, articles: int, things: list[str]) -> dict:
    """Articles of eight paragraphs, each about one of ``things`` and the person who has it."""

    def sentence(person: str, thing: str) -> str:
        colour, other_colour = random.sample(COLOURS, 2)
        room, other_room = random.sample(ROOMS, 2)
        return random.choice(SENTENCES).format(
            person=person,
            thing=thing,
            colour=colour,
            other_colour=other_colour,
            room=room,
            other_room=other_room,
            container=random.choice(CONTAINERS),
            number=random.randint(2, 99),
        )

    def article(person: str, thing: str) -> dict:
        paragraphs = [
            {"context": " ".join(sentence(person, thing) for _ in range(6))} for _ in range(8)
        ]
        return {"title": f"The_{thing}_of_{person}", "paragraphs": paragraphs}

    return {"data": [article(*words) for words in _chosen(random, articles, PEOPLE, things)]}


def qasc(random: Random, items: int) -> Iterator[dict]:
    """A fact, a question about it, the answer."""
    for animal, plant, habitat in _chosen(random, items, CREATURES, PLANTS, HABITATS):
        yield {
            "input": f"Fact: the {animal} eats {plant} in the {habitat}. \n"
            f"Question: What eats {plant} in the {habitat}?",
            "target": [f"the {animal}."],
        }


def winogrande_pairs(random: Random, items: int) -> Iterator[dict]:
    """Pairs of twin sentences, each with one blank."""
    for a, b, (first, second, frame) in _chosen(random, items, OBJECTS, CONTAINERS, CONTRASTS):
        one, two = (frame.format(a=a, b=b, trait=trait) for trait in (first, second))
        pair = f"Sentence 1: {one} \nAnswer1: {a}. \nSentence 2: {two} \nAnswer2: {b}."
        yield {"input": f"Context Word: {a}.", "target": [pair]}


def social_iqa(random: Random, items: int) -> Iterator[dict]:
    """An event between two people, and how one of them feels after it."""
    for giver, taker, thing, (event, *feelings) in _chosen(
        random, items, PEOPLE[:8], PEOPLE[8:], OBJECTS, EVENTS
    ):
        right = feelings[0]
        random.shuffle(feelings)
        yield {
            "input": f"{giver} {event.format(thing=thing)} {taker}. How would {taker} feel? ",
            "target_scores": {feeling: int(feeling == right) for feeling in feelings},
        }


def science(random: Random, items: int) -> Iterator[dict]:
    """Four words, of which one belongs to a class."""
    for kind, person, habitat in _chosen(random, items, list(CLASSES), PEOPLE, HABITATS):
        others = [words for name, words in CLASSES.items() if name != kind]
        right = random.choice(CLASSES[kind])
        options = [right, *(random.choice(words) for words in others)]
        random.shuffle(options)
        listed = " ".join(
            f"({letter}) {option}" for letter, option in zip("ABCD", options, strict=True)
        )
        yield {
            "input": f"Question: In the {habitat} {person} read four words. "
            f"Which one is {kind}?  {listed}?",
            "target": [f"{'ABCD'[options.index(right)]}."],
        }
