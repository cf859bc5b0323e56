"""The entities of the sample's world and what is true of them.

Places, rivers, trades, animals, plants and dishes are drawn once from a seed; people for each
document.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from demo import lexicon
from demo.lexicon import HE, SHE, Term

NUM_TOWNS = 12
NUM_NEIGHBOURS = 4
FIRST_YEAR, LAST_YEAR = 1905, 2004

T = TypeVar("T")


class Dice:
    """Draws from a seed, on `random()` alone: its sequence is the same in all Python versions."""

    def __init__(self, *seed: object) -> None:
        """Draws that depend on all parts of `seed`, by their text."""
        self.uniform = random.Random("/".join(map(str, seed))).random  # noqa: S311 (no secret)

    def below(self, limit: int) -> int:
        """An integer in [0, limit)."""
        return int(self.uniform() * limit)

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return low + int(self.uniform() * (high - low + 1))

    def pick(self, options: Sequence[T]) -> T:
        """One of `options`."""
        return options[int(self.uniform() * len(options))]

    def several(self, options: Sequence[T], count: int) -> list[T]:
        """`count` different ones of `options`, in drawn order."""
        left = list(options)
        return [left.pop(int(self.uniform() * len(left))) for _ in range(min(count, len(left)))]


@dataclass(frozen=True, slots=True)
class River:
    """A river from its mountain to its sea."""

    name: Term
    mountain: Term
    sea: Term
    length_km: int
    fish: Animal
    flood_month: Term


@dataclass(frozen=True, slots=True)
class Animal:
    """A kind of animal."""

    name: Term
    kind: Term
    habitat: Term
    food: Term
    colour: Term
    weight: int
    lifespan: int
    month: Term
    night: bool


@dataclass(frozen=True, slots=True)
class Trade:
    """Who makes what of which material with which tool."""

    name: Term
    product: Term
    material: Term
    tool: Term
    price: int
    years: int


@dataclass(frozen=True, slots=True)
class Dish:
    """Something to eat."""

    name: Term
    ingredients: tuple[Term, ...]
    minutes: int
    season: Term
    price: int


@dataclass(frozen=True, slots=True)
class Plant:
    """A tree, flower or herb."""

    name: Term
    use: Term
    colour: Term
    month: Term
    region: Term
    height: int


@dataclass(frozen=True, slots=True)
class Town:
    """A settlement; `x`, `y` in km fix its distance and direction from the others."""

    name: Term
    kind: Term
    region: Term
    river: River
    trade: Trade
    dish: Dish
    festival: Term
    festival_month: Term
    market_day: Term
    population: int
    founded: int
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Person:
    """Someone who lives in a town."""

    name: Term
    pronoun: Term
    town: Town
    birthplace: Town
    trade: Trade
    born: int
    animal: Animal
    dish: Dish
    characters: tuple[Term, ...]
    hobby: Term


@dataclass(frozen=True, slots=True)
class Family:
    """A couple and their children."""

    father: Person
    mother: Person
    children: tuple[Person, ...]
    married: int

    @property
    def members(self) -> tuple[Person, ...]:
        """Father, mother, children."""
        return (self.father, self.mother, *self.children)


@dataclass(frozen=True, slots=True)
class World:
    """Everything that stays the same, as drawn from one seed.

    People are not part of it: who they are is drawn anew for each document.

    Attributes:
        nearest: Town's Chinese name -> the towns around it, nearest first.
    """

    rivers: tuple[River, ...]
    animals: tuple[Animal, ...]
    trades: tuple[Trade, ...]
    dishes: tuple[Dish, ...]
    plants: tuple[Plant, ...]
    towns: tuple[Town, ...]
    nearest: Mapping[str, tuple[Town, ...]]


def distance_km(a: Town, b: Town) -> int:
    """As the crow flies, at least 1."""
    return max(1, round(math.hypot(a.x - b.x, a.y - b.y)))


def direction(a: Town, b: Town) -> Term:
    """Where `b` lies as seen from `a`."""
    eighth = round(math.atan2(b.y - a.y, b.x - a.x) / (math.pi / 4)) % 8
    return lexicon.DIRECTIONS[eighth]


def make_world(seed: int) -> World:
    """The world of a seed."""
    dice = Dice("world", seed)
    animals = tuple(_animal(dice, *parts) for parts in lexicon.ANIMALS)
    trades = tuple(_trade(dice, *parts) for parts in lexicon.TRADES)
    dishes = tuple(_dish(dice, *parts) for parts in lexicon.DISHES)
    plants = tuple(_plant(dice, *parts) for parts in lexicon.PLANTS)
    fishes = [animal for animal in animals if animal.kind.en == "fish"]
    rivers = tuple(_river(dice, name, fishes) for name in lexicon.RIVER_NAMES)
    towns = _towns(dice, rivers, trades, dishes)
    return World(
        rivers=rivers,
        animals=animals,
        trades=trades,
        dishes=dishes,
        plants=plants,
        towns=towns,
        nearest={town.name.zh: _nearest(town, towns) for town in towns},
    )


def make_person(world: World, dice: Dice) -> Person:
    """Someone new."""
    surname, woman = dice.pick(lexicon.SURNAMES), dice.uniform() < 0.5
    born = dice.between(FIRST_YEAR, LAST_YEAR - 20)
    return _person(world, dice, surname, woman=woman, born=born)


def make_family(world: World, dice: Dice) -> Family:
    """A new family: all live where the father lives, and no two have the same name."""
    home, born = dice.pick(world.towns), dice.between(FIRST_YEAR, LAST_YEAR - 50)
    surname, other = dice.several(lexicon.SURNAMES, 2)
    married = born + dice.between(22, 28)
    born_later = born + dice.between(0, 4)
    father = _person(world, dice, surname, woman=False, born=born)
    mother = _person(world, dice, other, woman=True, born=born_later)
    children: list[Person] = []
    count = dice.between(1, 4)
    while len(children) < count:
        woman, year = dice.uniform() < 0.5, married + 1 + 2 * len(children)
        child = _person(world, dice, surname, woman=woman, born=year)
        if child.name not in [father.name, *(other.name for other in children)]:
            children.append(replace(child, birthplace=home))
    members = [replace(member, town=home) for member in (father, mother, *children)]
    return Family(members[0], members[1], tuple(members[2:]), married)


def _person(world: World, dice: Dice, surname: Term, *, woman: bool, born: int) -> Person:
    given = dice.pick(lexicon.WOMEN if woman else lexicon.MEN)
    return Person(
        name=_named(f"{surname.en} {given.en}", surname.zh + given.zh),
        pronoun=SHE if woman else HE,
        town=dice.pick(world.towns),
        birthplace=dice.pick(world.towns),
        trade=dice.pick(world.trades),
        born=born,
        animal=dice.pick(world.animals),
        dish=dice.pick(world.dishes),
        characters=tuple(dice.several(lexicon.CHARACTERS, 2)),
        hobby=dice.pick(lexicon.HOBBIES),
    )


def _nearest(town: Town, towns: Sequence[Town]) -> tuple[Town, ...]:
    others = [other for other in towns if other is not town]
    return tuple(sorted(others, key=lambda other: distance_km(town, other))[:NUM_NEIGHBOURS])


def _animal(dice: Dice, name: Term, kind: Term, habitat: Term, food: Term) -> Animal:
    return Animal(
        name=name,
        kind=kind,
        habitat=habitat,
        food=food,
        colour=dice.pick(lexicon.COLOURS),
        weight=dice.between(2, 90),
        lifespan=dice.between(2, 60),
        month=dice.pick(lexicon.MONTHS),
        night=dice.uniform() < 0.4,
    )


def _trade(dice: Dice, name: Term, product: Term, material: Term, tool: Term) -> Trade:
    return Trade(name, product, material, tool, dice.between(2, 30), dice.between(2, 9))


def _dish(dice: Dice, name: Term, ingredients: tuple[Term, ...]) -> Dish:
    season = dice.pick(lexicon.SEASONS)
    return Dish(name, ingredients, 5 * dice.between(1, 18), season, dice.between(2, 18))


def _plant(dice: Dice, name: Term, use: Term) -> Plant:
    return Plant(
        name=name,
        use=use,
        colour=dice.pick(lexicon.COLOURS),
        month=dice.pick(lexicon.MONTHS),
        region=dice.pick(lexicon.REGIONS),
        height=dice.between(1, 30),
    )


def _river(dice: Dice, name: Term, fishes: Sequence[Animal]) -> River:
    mountain = dice.pick(lexicon.MOUNTAIN_NAMES)
    return River(
        name=_named(f"the {name.en} River", f"{name.zh}河"),
        mountain=_named(f"{mountain.en} Mountain", f"{mountain.zh}山"),
        sea=dice.pick(lexicon.SEAS),
        length_km=10 * dice.between(6, 190),
        fish=dice.pick(fishes),
        flood_month=dice.pick(lexicon.MONTHS),
    )


def _towns(
    dice: Dice, rivers: Sequence[River], trades: Sequence[Trade], dishes: Sequence[Dish]
) -> tuple[Town, ...]:
    pairs = [(a, b) for a in lexicon.TOWN_FIRST for b in lexicon.TOWN_SECOND]
    return tuple(
        Town(
            name=_named(f"{first.en} {second.en}", f"{first.zh}{second.zh}"),
            kind=dice.pick(lexicon.SETTLEMENTS),
            region=dice.pick(lexicon.REGIONS),
            river=dice.pick(rivers),
            trade=dice.pick(trades),
            dish=dice.pick(dishes),
            festival=dice.pick(lexicon.FESTIVALS),
            festival_month=dice.pick(lexicon.MONTHS),
            market_day=dice.pick(lexicon.WEEKDAYS),
            population=100 * dice.between(3, 900),
            founded=dice.between(620, 1890),
            x=dice.between(0, 400),
            y=dice.between(0, 400),
        )
        for first, second in dice.several(pairs, NUM_TOWNS)
    )


def _named(english: str, chinese: str) -> Term:
    return Term(english, chinese, english, f"{english}'s", english, "个")
