"""Questions that no specialist covers, and that the master must decline: far off, near misses, and bare fragments."""

from __future__ import annotations

from random import Random

from experts.pocket.domains.base import Domain, Problem, Task
from experts.pocket.domains.capitals import draw_state, surface


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_WORDS = _words(
    "apple banana river mountain purple guitar window elephant happy quickly silver garden pencil thunder whisper castle "
    "dragon bottle orange kitchen rabbit forest freedom yellow hammer mirror ocean pepper rocket shadow tiger umbrella "
    "violin winter zebra bread cloud dance eagle flame ghost honey island jungle knife lemon music night onion paper queen "
    "rhythm sugar train uncle voice water young acorn beauty coffee danger energy fabric gentle hollow ignore jacket "
    "mississippi necessary beautiful rhubarb committee restaurant serendipity ubiquitous love house dog sun strength blue "
    "chair laptop weird friend receive tomorrow language banjo cinnamon ephemeral gratitude nostalgia algorithm"
)
_NAMES = _words(
    "Anna Ben Carla David Emma Felix Grace Henry Isla Jack Karen Liam Maria Noah Olivia Peter Quinn Rosa Sam Tina Umar Vera "
    "Will Xavier Yuki Zoe Ahmed Bianca Chen Dmitri Elena Fatima George Hannah Ivan Julia Kofi Lucy Mohammed Nina Oscar "
    "Priya Ravi Sofia Tom"
)
_FOODS = (
    "pizza", "pasta", "lasagna", "sushi", "curry", "tacos", "pancakes", "risotto", "chili", "omelette", "banana bread",
    "apple pie", "cheesecake", "fried rice", "ramen", "paella", "goulash", "pho", "hummus", "falafel", "burgers",
    "meatballs", "pumpkin soup", "brownies", "sourdough", "steak", "roast chicken", "salmon", "kimchi", "dumplings",
    "tiramisu", "guacamole", "waffles", "noodles", "mashed potatoes", "coleslaw", "muffins", "gnocchi", "ratatouille",
    "porridge", "scrambled eggs", "lentil soup", "eggplant", "tofu", "avocado toast",
)  # fmt: skip
_ANIMALS = (
    "dog", "cat", "hamster", "parrot", "goldfish", "rabbit", "horse", "cow", "pig", "sheep", "goat", "elephant", "lion",
    "tiger", "giraffe", "penguin", "owl", "shark", "whale", "dolphin", "octopus", "snake", "turtle", "crocodile", "frog",
    "spider", "bee", "butterfly", "kangaroo", "koala", "panda", "polar bear", "wolf", "fox", "squirrel", "hedgehog", "bat",
    "camel", "llama", "monkey", "gorilla", "cheetah", "duck", "chicken", "platypus",
)  # fmt: skip
_CITIES = (  # none of them a capital
    "New York", "Los Angeles", "Chicago", "San Francisco", "Boston", "Seattle", "Miami", "Toronto", "Vancouver", "Montreal",
    "Munich", "Hamburg", "Frankfurt", "Cologne", "Barcelona", "Seville", "Valencia", "Milan", "Venice", "Naples",
    "Florence", "Lyon", "Marseille", "Nice", "Geneva", "Zurich", "Manchester", "Liverpool", "Glasgow", "Sydney",
    "Melbourne", "Perth", "Auckland", "Mumbai", "Kolkata", "Shanghai", "Osaka", "Kyoto", "Istanbul", "Dubai",
    "Rio de Janeiro", "Sao Paulo", "Lagos", "Casablanca", "Cape Town", "Saint Petersburg", "Krakow", "Antwerp",
)  # fmt: skip
_TOPICS = (
    "black holes", "global warming", "the french revolution", "photosynthesis", "world war two", "inflation",
    "quantum physics", "machine learning", "football", "chess", "jazz", "the stock market", "bitcoin", "yoga",
    "electric cars", "vaccines", "the moon landing", "dinosaurs", "ancient egypt", "democracy", "shakespeare", "evolution",
    "gravity", "the cold war", "gardening", "volcanoes", "the solar system", "renewable energy", "mental health",
    "the industrial revolution", "buddhism", "knitting", "cybersecurity", "opera", "impressionism", "the vikings",
    "genetics", "recycling", "time travel", "artificial intelligence", "classical music", "coral reefs", "minecraft",
    "tax returns", "the renaissance",
)  # fmt: skip
_MONTHS = _words("January February March April May June July August September October November December")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SMALL = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve", "twenty", "thirty")


def sample_slots(rng: Random) -> dict[str, str]:
    """A filling of every slot that off-topic phrasings may use."""
    state = draw_state(rng)
    word = rng.choice(_WORDS)
    return {
        "country": surface(state.country, state.country_aliases, rng),
        "capital": surface(state.capital, state.capital_aliases, rng),
        "w": rng.choices((word, f'"{word}"', f"'{word}'", word.capitalize()), (8, 2, 2, 1))[0],
        "a": _number(rng),
        "b": _number(rng),
        "n": rng.choice(_SMALL) if rng.random() < 0.3 else str(rng.randint(2, 30)),
        "name": _cased(rng.choice(_NAMES), rng),
        "food": rng.choice(_FOODS),
        "animal": rng.choice(_ANIMALS),
        "city": _cased(rng.choice(_CITIES), rng),
        "year": str(rng.randint(1900, 2030) if rng.random() < 0.8 else rng.randint(1000, 2100)),
        "month": _cased(rng.choice(_MONTHS), rng),
        "day": _cased(rng.choice(_DAYS), rng),
        "topic": rng.choice(_TOPICS),
    }


def sample_problem(rng: Random) -> Problem:
    """A question without an answer."""
    return Problem(sample_slots(rng), canonical="", answer="")


def _number(rng: Random) -> str:
    if rng.random() < 0.1:
        return rng.choice(_SMALL)
    return str(rng.randint(2, rng.choice((12, 99, 999))))


def _cased(text: str, rng: Random) -> str:
    return text if rng.random() < 0.5 else text.lower()


DOMAIN = Domain(
    name="offtopic",
    description="anything that the specialists do not cover",
    tasks=(
        Task("general", sample_problem, holds_out=False),
        Task("near", sample_problem, holds_out=False),
        Task("fragment", sample_problem, holds_out=False),
    ),
    weights={"general": 4.0, "near": 5.0, "fragment": 1.0},
)
