"""Numbers up to 255 in decimal, binary and hexadecimal.

Slot ``n`` is the number as typed, with or without a prefix. Binary and hexadecimal problems also have a slot ``p``, the
number with a prefix that gives its base away, for phrasings that do not name the base.
"""

from __future__ import annotations

from random import Random

from experts.pocket.domains.arithmetic import number_words
from experts.pocket.domains.base import Domain, Problem, Task


def _value(rng: Random) -> int:
    """A byte, often small, sometimes a power of two or one less."""
    kind = rng.random()
    if kind < 0.25:
        return rng.randrange(16)
    if kind < 0.33:
        return 2 ** rng.randrange(8) - rng.randrange(2)
    return rng.randrange(256)


def _key(value: int) -> str:
    return f"base {value}"


def _split(value: int) -> str:
    """The sixteens and the rest: ``32+10``."""
    return f"{value // 16 * 16}+{value % 16}"


def _nibbles(value: int) -> str:
    """Eight binary digits: ``0010 1010``."""
    return f"{value // 16:04b} {value % 16:04b}"


def _decimal(rng: Random, value: int) -> dict[str, str]:
    words = value < 100 and rng.random() < 0.05
    return {"n": number_words(value, rng.choice("- ")) if words else str(value)}


def _binary(rng: Random, value: int) -> dict[str, str]:
    style = rng.random()
    digits = f"{value:b}"
    if style < 0.12:
        digits = f"{value:08b}"
    elif style < 0.2:
        digits = _nibbles(value)
    elif style < 0.27:
        digits = digits.zfill(rng.choice((4, 6, 8)))
    prefixed = "0b" + digits.replace(" ", "")
    return {"n": prefixed if rng.random() < 0.12 else digits, "p": prefixed}


def _hexadecimal(rng: Random, value: int) -> dict[str, str]:
    digits = f"{value:02x}" if rng.random() < 0.15 else f"{value:x}"
    digits = digits.upper() if rng.random() < 0.5 else digits
    prefixed = ("#" if rng.random() < 0.08 else "0x") + digits
    return {"n": prefixed if rng.random() < 0.2 else digits, "p": prefixed}


def sample_dec_to_bin(rng: Random) -> Problem:
    """Decimal to binary."""
    v = _value(rng)
    working = f"{_split(v)}:{v:02x}:{_nibbles(v)}="
    return Problem(_decimal(rng, v), f"d{v}>b", f"{v:b}", working, _key(v))


def sample_dec_to_hex(rng: Random) -> Problem:
    """Decimal to hexadecimal."""
    v = _value(rng)
    return Problem(_decimal(rng, v), f"d{v}>h", f"{v:x}", f"{_split(v)}=", _key(v))


def sample_bin_to_dec(rng: Random) -> Problem:
    """Binary to decimal."""
    v = _value(rng)
    working = f"{_nibbles(v)}:{v:02x}:{_split(v)}="
    return Problem(_binary(rng, v), f"b{v:b}>d", str(v), working, _key(v))


def sample_bin_to_hex(rng: Random) -> Problem:
    """Binary to hexadecimal."""
    v = _value(rng)
    return Problem(_binary(rng, v), f"b{v:b}>h", f"{v:x}", f"{_nibbles(v)}=", _key(v))


def sample_hex_to_dec(rng: Random) -> Problem:
    """Hexadecimal to decimal."""
    v = _value(rng)
    return Problem(_hexadecimal(rng, v), f"h{v:x}>d", str(v), f"{_split(v)}=", _key(v))


def sample_hex_to_bin(rng: Random) -> Problem:
    """Hexadecimal to binary."""
    v = _value(rng)
    return Problem(_hexadecimal(rng, v), f"h{v:x}>b", f"{v:b}", f"{_nibbles(v)}=", _key(v))


DOMAIN = Domain(
    name="bases",
    description="converts numbers up to 255 between decimal, binary and hexadecimal",
    tasks=(
        Task("dec_to_bin", sample_dec_to_bin),
        Task("dec_to_hex", sample_dec_to_hex),
        Task("bin_to_dec", sample_bin_to_dec),
        Task("bin_to_hex", sample_bin_to_hex),
        Task("hex_to_dec", sample_hex_to_dec),
        Task("hex_to_bin", sample_hex_to_bin),
    ),
    weights={"dec_to_bin": 1.5, "bin_to_dec": 1.5},
)
