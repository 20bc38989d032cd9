"""Numbers up to 255 in decimal, binary and hexadecimal.

Slot ``n`` is the number as typed, with or without a prefix. Binary and hexadecimal problems also have a slot ``p``, the
number with a prefix that gives its base away, for phrasings that do not name the base.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from experts.pocket.domains.arithmetic import number_words
from experts.pocket.domains.base import Domain, Problem, Task


def _value(rng: Random, top: int) -> int:
    """A number below ``top``: a byte is often small, sometimes a power of two or one less."""
    if top > 256:
        return rng.randrange(top)
    kind = rng.random()
    if kind < 0.25:
        return rng.randrange(16)
    if kind < 0.33:
        return (1 << rng.randrange(8)) - rng.randrange(2)
    return rng.randrange(256)


def _held_out(value: int) -> tuple[str, bool]:
    """Key, and whether elementary: a value is held out in all six tasks, but the sixteen digits must be known."""
    return f"base {value}", value < 16


def _halved(value: int) -> str:
    """Decimal to binary by halving; the bits gather on the right: ``6:,3:0,1:10,0=110``."""
    steps, rest, bits = [f"{value}:"], value, ""
    while rest:
        rest, bit = divmod(rest, 2)
        bits = f"{bit}{bits}"
        steps.append(f"{rest}:{bits}" if rest else f"{rest}={bits}")
    return ",".join(steps) if value else "0=0"


def _doubled(value: int) -> str:
    """Binary to decimal by doubling, bit by bit: ``1:1,1:3,0:6``."""
    bits = f"{value:b}"
    return ",".join(f"{bit}:{value >> (len(bits) - 1 - i)}" for i, bit in enumerate(bits))


def _nibbles_of_digits(value: int) -> str:
    """Hexadecimal to binary: ``2:10,a:1010``; the first digit without leading zeros."""
    first, *others = list(f"{value:x}")
    return ",".join((f"{first}:{int(first, 16):b}", *(f"{digit}:{int(digit, 16):04b}" for digit in others)))


def _digits_of_nibbles(value: int) -> str:
    """Binary to hexadecimal: ``0010:2,1010:a``."""
    return ",".join(f"{int(digit, 16):04b}:{digit}" for digit in f"{value:x}")


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


def sample_dec_to_bin(rng: Random, top: int = 256) -> Problem:
    """Decimal to binary."""
    v = _value(rng, top)
    working = _halved(v).removesuffix(f"{v:b}")
    return Problem(_decimal(rng, v), f"d{v}>b", f"{v:b}", working, *_held_out(v))


def sample_dec_to_hex(rng: Random, top: int = 256) -> Problem:
    """Decimal to hexadecimal."""
    v = _value(rng, top)
    return Problem(_decimal(rng, v), f"d{v}>h", f"{v:x}", f"{_halved(v)}>{_digits_of_nibbles(v)}=", *_held_out(v))


def sample_bin_to_dec(rng: Random, top: int = 256) -> Problem:
    """Binary to decimal."""
    v = _value(rng, top)
    working = f"{_doubled(v)}="
    return Problem(_binary(rng, v), f"b{v:b}>d", str(v), working, *_held_out(v))


def sample_bin_to_hex(rng: Random, top: int = 256) -> Problem:
    """Binary to hexadecimal."""
    v = _value(rng, top)
    return Problem(_binary(rng, v), f"b{v:b}>h", f"{v:x}", f"{_digits_of_nibbles(v)}=", *_held_out(v))


def sample_hex_to_dec(rng: Random, top: int = 256) -> Problem:
    """Hexadecimal to decimal."""
    v = _value(rng, top)
    return Problem(_hexadecimal(rng, v), f"h{v:x}>d", str(v), f"{_nibbles_of_digits(v)}>{_doubled(v)}=", *_held_out(v))


def sample_hex_to_bin(rng: Random, top: int = 256) -> Problem:
    """Hexadecimal to binary."""
    v = _value(rng, top)
    return Problem(_hexadecimal(rng, v), f"h{v:x}>b", f"{v:b}", f"{_nibbles_of_digits(v)}=", *_held_out(v))


_SAMPLERS: dict[str, Callable[..., Problem]] = {
    "dec_to_bin": sample_dec_to_bin,
    "dec_to_hex": sample_dec_to_hex,
    "bin_to_dec": sample_bin_to_dec,
    "bin_to_hex": sample_bin_to_hex,
    "hex_to_dec": sample_hex_to_dec,
    "hex_to_bin": sample_hex_to_bin,
}

DOMAIN = Domain(
    name="bases",
    description="converts numbers up to 255 between decimal, binary and hexadecimal",
    tasks=tuple(Task(name, sample) for name, sample in _SAMPLERS.items()),
    weights={"dec_to_bin": 1.5, "bin_to_dec": 1.5},
    # 256 values are few enough to learn by heart; larger ones make the halving and doubling worth learning.
    practice=tuple(Task(name, partial(sample, top=1024)) for name, sample in _SAMPLERS.items()),
)
