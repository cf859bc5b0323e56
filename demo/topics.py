"""What a document says: a title and its facts in order, drawn from the world, without words.

A fact is a kind (a key of the grammars' forms) and the values its sentences name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from demo import lexicon
from demo.lexicon import FINDER, HE, IT, OWNER, Term, number, year
from demo.world import (
    LAST_YEAR,
    Animal,
    Dice,
    Dish,
    Family,
    Person,
    Plant,
    River,
    Town,
    Trade,
    World,
    direction,
    distance_km,
    make_family,
    make_person,
)


@dataclass(frozen=True, slots=True)
class Fact:
    """One statement; `values["s"]` is its subject, `pronoun` what may stand for it later."""

    kind: str
    values: Mapping[str, Term]
    pronoun: Term = IT


@dataclass(frozen=True, slots=True)
class Topic:
    """A document without words."""

    title: Term
    category: Term
    facts: tuple[Fact, ...]


CATEGORIES = {
    name: lexicon.term(text)
    for name, text in (
        ("place", "place|地方"),
        ("river", "river|河流"),
        ("person", "person|人物"),
        ("nature", "nature|自然"),
        ("craft", "craft|手艺"),
        ("food", "food|饮食"),
        ("journey", "journey|旅行"),
        ("market", "market|集市"),
        ("family", "family|家庭"),
        ("story", "story|故事"),
    )
}


def town_topic(world: World, town: Town, dice: Dice) -> Topic:
    """A place: what it is, whom and what it has, what lies around it."""
    s = town.name
    person = make_person(world, dice)
    facts = [
        Fact("town_is", {"s": s, "kind": town.kind, "region": town.region}),
        Fact("town_river", {"s": s, "river": town.river.name}),
        Fact("town_population", {"s": s, "n": number(town.population)}),
        Fact("town_founded", {"s": s, "year": year(town.founded)}),
        Fact("town_product", {"s": s, "good": town.trade.product, "trade": town.trade.name}),
        Fact("town_dish", {"s": s, "dish": town.dish.name}),
        Fact(
            "town_festival",
            {"s": s, "festival": town.festival, "month": town.festival_month},
        ),
        Fact("town_market", {"s": s, "day": town.market_day}),
        *(_neighbour(town, other) for other in world.nearest[s.zh]),
        Fact("town_person", {"s": s, "person": person.name, "trade": person.trade.name}),
    ]
    return _topic(s, "place", facts, dice)


def _neighbour(town: Town, other: Town) -> Fact:
    return Fact(
        "town_neighbour",
        {
            "s": other.name,
            "town": town.name,
            "n": number(distance_km(town, other)),
            "direction": direction(town, other),
        },
    )


def river_topic(world: World, river: River, dice: Dice) -> Topic:
    """A river from source to sea."""
    s = river.name
    along = [town for town in world.towns if town.river is river]
    facts = [
        Fact("river_source", {"s": s, "mountain": river.mountain}),
        Fact("river_end", {"s": s, "sea": river.sea}),
        Fact("river_length", {"s": s, "n": number(river.length_km)}),
        Fact("river_fish", {"s": s, "fish": river.fish.name}),
        Fact("river_flood", {"s": s, "month": river.flood_month}),
    ]
    facts += [
        Fact("river_town", {"s": s, "town": town.name, "kind": town.kind})
        for town in dice.several(along, 3)
    ]
    return _topic(s, "river", facts, dice)


def animal_topic(world: World, animal: Animal, dice: Dice) -> Topic:
    """A kind of animal."""
    s = _the(animal.name)
    facts = [
        Fact("animal_is", {"s": s, "kind": animal.kind, "colour": animal.colour}),
        Fact("animal_home", {"s": s, "place": animal.habitat}),
        Fact("animal_eats", {"s": s, "food": animal.food}),
        Fact("animal_life", {"s": s, "n": number(animal.lifespan)}),
        Fact("animal_weight", {"s": s, "n": number(animal.weight)}),
        Fact("animal_young", {"s": s, "month": animal.month}),
        Fact("animal_night" if animal.night else "animal_day", {"s": s}),
        Fact("animal_keeper", {"s": s, "person": make_person(world, dice).name}),
    ]
    return _topic(s, "nature", facts, dice)


def plant_topic(world: World, plant: Plant, dice: Dice) -> Topic:
    """A tree, flower or herb."""
    s = _the(plant.name)
    facts = [
        Fact("plant_is", {"s": s, "region": plant.region}),
        Fact("plant_flower", {"s": s, "colour": plant.colour, "month": plant.month}),
        Fact("plant_use", {"s": s, "use": plant.use}),
        Fact("plant_height", {"s": s, "n": number(plant.height)}),
        Fact("plant_seen", {"s": s, "town": dice.pick(world.towns).name}),
    ]
    return _topic(s, "nature", facts, dice)


def trade_topic(world: World, trade: Trade, dice: Dice) -> Topic:
    """A craft: product, material, tool, price."""
    s = _the(trade.name)
    facts = [
        Fact("trade_makes", {"s": s, "good": trade.product, "material": trade.material}, HE),
        Fact("trade_tool", {"s": s, "tool": trade.tool}, HE),
        Fact("trade_years", {"s": s, "n": number(trade.years)}, HE),
        Fact("trade_price", {"s": s, "good": trade.product, "n": number(trade.price)}, HE),
    ]
    for _ in range(2):
        person = make_person(world, dice)
        master = {"s": s, "person": person.name, "town": person.town.name}
        facts.append(Fact("trade_master", master, HE))
    return _topic(s, "craft", facts, dice)


def dish_topic(world: World, dish: Dish, dice: Dice) -> Topic:
    """A dish and how it is made."""
    s = dish.name
    one, two, three = dish.ingredients
    facts = [
        Fact("dish_parts", {"s": s, "one": one, "two": two, "three": three}),
        Fact("dish_wash", {"s": s, "one": one}),
        Fact("dish_cook", {"s": s, "one": one, "two": two, "n": number(dish.minutes)}),
        Fact("dish_add", {"s": s, "three": three}),
        Fact("dish_season", {"s": s, "season": dish.season}),
        Fact("dish_price", {"s": s, "n": number(dish.price)}),
    ]
    fan = make_person(world, dice)
    facts.append(Fact("person_dish", {"s": fan.name, "dish": s}, fan.pronoun))
    homes = [town for town in world.towns if town.dish is dish]
    if homes:
        facts.append(Fact("town_dish", {"s": dice.pick(homes).name, "dish": s}))
    return Topic(s, CATEGORIES["food"], tuple(facts))


def person_topic(world: World, dice: Dice) -> Topic:
    """A life."""
    family = make_family(world, dice)
    person = dice.pick(family.members)
    return _topic(person.name, "person", _person_facts(person) + _kin(family, person), dice)


def _person_facts(person: Person) -> list[Fact]:
    s, he = person.name, person.pronoun
    first, second = person.characters
    return [
        Fact("person_trade", {"s": s, "trade": person.trade.name, "town": person.town.name}, he),
        Fact(
            "person_born", {"s": s, "town": person.birthplace.name, "year": year(person.born)}, he
        ),
        Fact(
            "person_makes",
            {"s": s, "good": person.trade.product, "material": person.trade.material},
            he,
        ),
        Fact("person_animal", {"s": s, "animal": person.animal.name}, he),
        Fact("person_dish", {"s": s, "dish": person.dish.name}, he),
        Fact("person_character", {"s": s, "one": first, "two": second}, he),
        Fact("person_hobby", {"s": s, "hobby": person.hobby}, he),
        Fact("person_river", {"s": s, "river": person.town.river.name}, he),
    ]


def _kin(family: Family, person: Person) -> list[Fact]:
    s, he = person.name, person.pronoun
    if person in family.children:
        parents = {"s": s, "father": family.father.name, "mother": family.mother.name}
        facts = [Fact("person_parents", parents, he)]
        facts += [
            Fact("person_sibling", {"s": s, "person": other.name}, he)
            for other in family.children
            if other is not person
        ]
        return facts
    spouse = family.mother if person is family.father else family.father
    return [
        Fact("person_spouse", {"s": s, "person": spouse.name, "year": year(family.married)}, he),
        *(Fact("person_child", {"s": s, "person": child.name}, he) for child in family.children),
    ]


def family_topic(world: World, dice: Dice) -> Topic:
    """A family: couple, children, ages."""
    family = make_family(world, dice)
    father, mother = family.father, family.mother
    facts = [
        Fact(
            "family_is",
            {
                "s": father.name,
                "person": mother.name,
                "town": father.town.name,
                "n": number(len(family.children)),
            },
            father.pronoun,
        )
    ]
    for member in family.members:
        facts += dice.several(_person_facts(member), 2)
        if member in family.children:
            age = Fact(
                "person_younger",
                {
                    "s": member.name,
                    "person": father.name,
                    "n": number(member.born - father.born),
                },
                member.pronoun,
            )
            facts.append(age)
    return Topic(father.name, CATEGORIES["family"], tuple(facts))


def journey_topic(world: World, dice: Dice) -> Topic:
    """A day's journey between two towns, with weather, a stop, a meeting and a purchase."""
    person, other = _people(world, dice, 2)
    start, end, stop = dice.several(world.towns, 3)
    s, he = person.name, person.pronoun
    facts = [
        Fact(
            "journey_start",
            {
                "s": s,
                "month": dice.pick(lexicon.MONTHS),
                "n": number(dice.between(1, 28)),
                "a": start.name,
                "b": end.name,
                "vehicle": dice.pick(lexicon.VEHICLES),
                "year": year(dice.between(LAST_YEAR - 60, LAST_YEAR)),
            },
            he,
        ),
        Fact("journey_reason", {"s": s, "reason": dice.pick(lexicon.REASONS)}, he),
        Fact("weather_is", {"s": s, "weather": dice.pick(lexicon.WEATHER)}, he),
        Fact(
            "journey_stop",
            {"s": s, "town": stop.name, "dish": dice.pick(world.dishes).name},
            he,
        ),
        Fact(
            "journey_meet",
            {"s": s, "person": other.name, "trade": other.trade.name, "town": other.town.name},
            he,
        ),
        _purchase(world, person, dice),
        Fact("journey_feel", {"s": s, "feeling": dice.pick(lexicon.FEELINGS)}, he),
        Fact("journey_end", {"s": s, "b": end.name, "n": number(dice.between(2, 20))}, he),
    ]
    keep = {0, 7, *dice.several(range(1, 7), 5)}
    title = _title(s, "'s journey", "的旅行")
    kept = tuple(fact for index, fact in enumerate(facts) if index in keep)
    return Topic(title, CATEGORIES["journey"], kept)


def _purchase(world: World, person: Person, dice: Dice) -> Fact:
    trade, count = dice.pick(world.trades), dice.between(2, 9)
    return Fact(
        "buys",
        {
            "s": person.name,
            "good": trade.product,
            "count": number(count),
            "each": number(trade.price),
            "n": number(count * trade.price),
        },
        person.pronoun,
    )


def market_topic(world: World, dice: Dice) -> Topic:
    """A market day: who sells and buys what for how much."""
    town = dice.pick(world.towns)
    facts = [
        Fact("town_market", {"s": town.name, "day": town.market_day}),
        Fact("weather_town", {"s": town.name, "weather": dice.pick(lexicon.WEATHER)}, town.name),
    ]
    for _ in range(dice.between(2, 4)):
        trade, person = dice.pick(world.trades), make_person(world, dice)
        values = {"s": _the(trade.name), "good": trade.product, "n": number(trade.price)}
        facts += [Fact("trade_price", values, HE), _purchase(world, person, dice)]
    seller = make_person(world, dice)
    money = {"s": seller.name, "n": number(dice.between(10, 400))}
    facts.append(Fact("market_earned", money, seller.pronoun))
    return Topic(_title(town.name, "'s market day", "的集市"), CATEGORIES["market"], tuple(facts))


def story_topic(world: World, dice: Dice) -> Topic:
    """Someone finds a thing, meets its owner, and is thanked."""
    finder, owner, helper = _people(world, dice, 3)
    town, thing, place = (
        dice.pick(world.towns),
        dice.pick(lexicon.OBJECTS),
        dice.pick(lexicon.PLACES),
    )
    s, he, she = finder.name, finder.pronoun, owner.pronoun
    lives = {"s": OWNER, "trade": owner.trade.name, "town": owner.town.name}
    known = {"s": helper.name, "person": owner.name, "thing": thing}
    facts = [
        Fact("story_find", {"s": s, "thing": thing, "place": place, "town": town.name}, he),
        Fact("weather_is", {"s": s, "weather": dice.pick(lexicon.WEATHER)}, he),
        Fact("journey_feel", {"s": s, "feeling": dice.pick(lexicon.FEELINGS)}, he),
        Fact("story_ask", {"s": s, "person": helper.name, "thing": thing}, he),
        Fact("story_owner", known, helper.pronoun),
        Fact("person_trade", lives, she),
        Fact("story_sick", {"s": OWNER, "sickness": dice.pick(lexicon.SICKNESSES)}, she),
        Fact("story_give", {"s": FINDER, "person": OWNER, "thing": thing}, he),
        Fact("story_thanks", {"s": OWNER, "person": FINDER, "dish": owner.dish.name}, she),
    ]
    keep = {0, 3, 4, 7, 8, *dice.several((1, 2, 5, 6), 2)}
    kept = tuple(fact for index, fact in enumerate(facts) if index in keep)
    return Topic(_the(thing), CATEGORIES["story"], kept)


def _topic(title: Term, category: str, facts: list[Fact], dice: Dice) -> Topic:
    """The first fact, then some of the rest in drawn order."""
    rest = dice.several(facts[1:], dice.between(4, 7))
    return Topic(title, CATEGORIES[category], (facts[0], *rest))


def _people(world: World, dice: Dice, count: int) -> list[Person]:
    """So many with different names."""
    people: dict[str, Person] = {}
    while len(people) < count:
        person = make_person(world, dice)
        people.setdefault(person.name.zh, person)
    return list(people.values())


def _the(noun: Term) -> Term:
    """A kind of thing as a subject: with its article, which a pronoun replaces too."""
    text = f"the {noun.en}"
    return Term(text, noun.zh, noun.plural, f"the {noun.own}", noun.a, noun.measure)


def _title(name: Term, english: str, chinese: str) -> Term:
    text = name.en + english
    return Term(text, name.zh + chinese, text, text, text, "")


Maker = Callable[[World, Dice], Topic]

ENCYCLOPEDIA: tuple[Maker, ...] = (
    lambda world, dice: town_topic(world, dice.pick(world.towns), dice),
    lambda world, dice: town_topic(world, dice.pick(world.towns), dice),
    person_topic,
    person_topic,
    lambda world, dice: river_topic(world, dice.pick(world.rivers), dice),
    lambda world, dice: animal_topic(world, dice.pick(world.animals), dice),
    lambda world, dice: plant_topic(world, dice.pick(world.plants), dice),
    lambda world, dice: trade_topic(world, dice.pick(world.trades), dice),
    lambda world, dice: dish_topic(world, dice.pick(world.dishes), dice),
    family_topic,
)
"""Topics that state what stays true."""

EVENTS: tuple[Maker, ...] = (journey_topic, market_topic, story_topic)
"""Topics that are drawn anew."""
