"""Words by which captions mention COCO's categories: 'man' is a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ranktag.tags.annotations.names import normal_name, read_aliases
from ranktag.tags.annotations.nouns import Mentions, words_of

# Singular; the plural is found, too. What often means another thing is left out
# ("glass", "plant", and "baseball", which is a game).
SYNONYMS = {
    "person": "man woman boy girl child kid baby toddler guy lady gentleman player skier snowboarder surfer "
    "skateboarder skater batter pitcher catcher umpire rider cyclist motorcyclist biker pedestrian crowd passenger "
    "family couple adult teenager officer policeman soldier chef worker farmer cowboy athlete male female human",
    "bicycle": "bike cycle tricycle",
    "car": "automobile suv taxi cab sedan minivan convertible",
    "motorcycle": "motorbike motor-bike moped scooter",
    "airplane": "plane aeroplane jet airliner aircraft biplane jetliner",
    "bus": "double-decker minibus",
    "train": "locomotive tram streetcar trolley",
    "truck": "pickup lorry firetruck semi",
    "boat": "ship sailboat canoe kayak yacht ferry gondola rowboat raft",
    "traffic light": "stoplight streetlight",
    "fire hydrant": "hydrant",
    "bench": "pew",
    "bird": "seagull gull pigeon duck goose swan parrot owl eagle hawk pelican ostrich flamingo hen rooster "
    "penguin crow sparrow",
    "cat": "kitten kitty",
    "dog": "puppy pup poodle retriever terrier dachshund corgi bulldog",
    "horse": "pony foal colt stallion mare",
    "sheep": "lamb ram ewe",
    "cow": "cattle bull calf ox steer",
    "bear": "panda",
    "backpack": "rucksack knapsack",
    "umbrella": "parasol",
    "handbag": "purse",
    "tie": "necktie bowtie",
    "suitcase": "luggage briefcase",
    "frisbee": "disc",
    "skis": "ski",
    "sports ball": "ball",
    "skateboard": "longboard",
    "tennis racket": "racket racquet",
    "wine glass": "wineglass goblet",
    "cup": "mug teacup",
    "banana": "plantain",
    "sandwich": "burger hamburger cheeseburger panini",
    "hot dog": "hotdog",
    "donut": "doughnut",
    "cake": "cupcake cheesecake",
    "chair": "armchair stool recliner",
    "couch": "sofa loveseat futon",
    "potted plant": "houseplant",
    "dining table": "table",
    "toilet": "urinal commode",
    "tv": "television monitor",
    "laptop": "notebook macbook",
    "cell phone": "phone cellphone smartphone iphone",
    "oven": "stove",
    "refrigerator": "fridge",
    "sink": "washbasin basin",
    "teddy bear": "teddy",
    "hair drier": "hairdryer blowdryer",
}


def mentions_of(categories: Iterable[str], synonyms: Path | None) -> Callable[[str], list[str]]:
    """What finds in a caption the categories that it mentions, by name or by another word, each at its first mention.

    synonyms: a CSV file with the columns ``name,tag``, a word and its category;
    without it, ``SYNONYMS``. Raises RanktagError for an unreadable table.
    """
    known = {normal_name(name): name for name in categories if words_of(name)}
    others = {word: tag for tag, words in SYNONYMS.items() for word in words.split()}
    meant = {
        word: known[normal_name(tag)]
        for word, tag in (others if synonyms is None else read_aliases(synonyms)).items()
        if normal_name(tag) in known and words_of(word) and word not in known
    }
    meaning = meant | known
    if not meaning:
        return lambda caption: []
    find = Mentions(list(meaning))
    return lambda caption: list(dict.fromkeys(meaning[word] for word in find(caption)))
