"""The English sentences of the sample."""

from __future__ import annotations

from demo.grammar import Grammar

FORMS: dict[str, tuple[str, ...]] = {
    "town_is": (
        "{s.en} is {kind.a} in {region.en}.",
        "{s.en} is a well-known {kind.en} that lies in {region.en}.",
        "In {region.en} there is {kind.a} called {s.en}.",
        "Many travellers to {region.en} visit {s.en}, {kind.a}.",
    ),
    "town_river": (
        "{s.en} stands on {river.en}.",
        "{river.en} flows past {s.en}.",
        "{river.en} gives {s.en} its water.",
        "The houses of {s.en} follow the bank of {river.en}.",
    ),
    "town_population": (
        "{s.en} has {n.en} inhabitants.",
        "About {n.en} people live in {s.en}.",
        "The population of {s.en} is {n.en}.",
        "At the last count, {s.en} had {n.en} inhabitants.",
    ),
    "town_founded": (
        "{s.en} was founded in {year.en}.",
        "The first houses of {s.en} were built in the year {year.en}.",
        "The history of {s.en} begins in {year.en}.",
        "People have lived in {s.en} since {year.en}.",
    ),
    "town_product": (
        "{s.en} is known for the {good.plural} of its {trade.plural}.",
        "Every {trade.en} in {s.en} makes {good.plural}.",
        "Most {good.plural} on the market come from {s.en}, where many {trade.plural} work.",
        "The {trade.plural} of {s.en} sell {good.plural} everywhere.",
    ),
    "town_dish": (
        "The favourite food in {s.en} is {dish.en}.",
        "Guests in {s.en} are always offered {dish.en}.",
        "{s.en} is famous for its {dish.en}.",
        "Whoever comes to {s.en} should try the {dish.en}.",
    ),
    "town_festival": (
        "Every {month.en}, {s.en} holds {festival.a}.",
        "The {festival.en} of {s.en} takes place in {month.en}.",
        "In {month.en}, people come to {s.en} for the {festival.en}.",
        "{s.en} is full of guests in {month.en} because of the {festival.en}.",
    ),
    "town_market": (
        "Market day in {s.en} is {day.en}.",
        "On {day.en}, the market of {s.en} opens early in the morning.",
        "{s.en} has a market every {day.en}.",
        "Farmers bring their goods to {s.en} each {day.en}.",
    ),
    "town_neighbour": (
        "{s.en} lies {n.en} kilometres {direction.en} of {town.en}.",
        "From {town.en} it is {n.en} kilometres to {s.en} in the {direction.en}.",
        "{n.en} kilometres {direction.en} of {town.en} is {s.en}.",
        "A road of {n.en} kilometres leads {direction.en} from {town.en} to {s.en}.",
    ),
    "town_person": (
        "{person.en}, {trade.a}, lives in {s.en}.",
        "The best known {trade.en} in {s.en} is {person.en}.",
        "In {s.en} everyone knows {person.en} the {trade.en}.",
    ),
    "river_source": (
        "{s.en} rises on {mountain.en}.",
        "The source of {s.en} is on {mountain.en}.",
        "The snow of {mountain.en} feeds {s.en}.",
        "On the side of {mountain.en}, a spring becomes {s.en}.",
    ),
    "river_end": (
        "{s.en} flows into {sea.en}.",
        "At its end {s.en} reaches {sea.en}.",
        "The water of {s.en} runs to {sea.en}.",
    ),
    "river_length": (
        "{s.en} is {n.en} kilometres long.",
        "The length of {s.en} is {n.en} kilometres.",
        "From source to mouth {s.en} measures {n.en} kilometres.",
    ),
    "river_fish": (
        "Fishermen on {s.en} catch {fish.en}.",
        "{s.en} is rich in {fish.en}.",
        "The most common fish in {s.en} is the {fish.en}.",
    ),
    "river_flood": (
        "{s.en} often floods in {month.en}.",
        "In {month.en} the water of {s.en} is highest.",
        "Boats cannot cross {s.en} in {month.en} because the water is too high.",
    ),
    "river_town": (
        "{s.en} passes {town.en}, {kind.a}.",
        "One of the places on {s.en} is the {kind.en} of {town.en}.",
        "{town.en} has a landing place on {s.en}.",
    ),
    "animal_is": (
        "{s.en} is a {colour.en} {kind.en}.",
        "{s.en} belongs to the {kind.plural} and is usually {colour.en}.",
        "Like other {kind.plural}, {s.en} is easy to know: its colour is {colour.en}.",
    ),
    "animal_home": (
        "{s.en} lives in the {place.en}.",
        "The home of {s.en} is the {place.en}.",
        "You can find {s.en} in the {place.en}.",
    ),
    "animal_eats": (
        "{s.en} eats {food.en}.",
        "The food of {s.en} is {food.en}.",
        "Mostly {s.en} looks for {food.en} to eat.",
        "{s.en} cannot live without {food.en}.",
    ),
    "animal_life": (
        "{s.en} lives for {n.en} years.",
        "{s.en} can reach the age of {n.en} years.",
        "After {n.en} years {s.en} is very old.",
    ),
    "animal_weight": (
        "{s.en} can weigh {n.en} pounds.",
        "The weight of {s.en} is up to {n.en} pounds.",
        "A grown one weighs about {n.en} pounds.",
    ),
    "animal_young": (
        "{s.en} has its young in {month.en}.",
        "The young are born in {month.en}.",
        "In {month.en} {s.en} takes care of its young.",
    ),
    "animal_night": (
        "{s.en} sleeps by day and is awake at night.",
        "At night {s.en} goes out.",
        "{s.en} is seldom seen before dark.",
    ),
    "animal_day": (
        "{s.en} is awake by day and sleeps at night.",
        "{s.en} gets up with the sun.",
        "When it grows dark, {s.en} goes to sleep.",
    ),
    "animal_keeper": (
        "{person.en} has kept one for years.",
        "{person.en} knows more about {s.en} than anyone else.",
        "{person.en} likes {s.en} best of all animals.",
    ),
    "plant_is": (
        "{s.en} grows in {region.en}.",
        "{s.en} is common in {region.en}.",
        "In {region.en} {s.en} is seen everywhere.",
    ),
    "plant_flower": (
        "{s.en} has {colour.en} flowers in {month.en}.",
        "In {month.en} {s.en} opens its {colour.en} flowers.",
        "The flowers of {s.en} are {colour.en} and appear in {month.en}.",
    ),
    "plant_use": (
        "People use {s.en} for {use.en}.",
        "{s.en} is good for {use.en}.",
        "{s.en} is grown for {use.en}.",
    ),
    "plant_height": (
        "{s.en} grows {n.en} feet high.",
        "The height of {s.en} is {n.en} feet.",
        "After some years {s.en} reaches {n.en} feet.",
    ),
    "plant_seen": (
        "There is a famous one in {town.en}.",
        "The people of {town.en} love {s.en}.",
        "Near {town.en} {s.en} covers the whole hill.",
    ),
    "trade_makes": (
        "{s.en} makes {good.plural} from {material.en}.",
        "From {material.en} {s.en} makes {good.plural}.",
        "{s.en} needs {material.en} to make {good.plural}.",
    ),
    "trade_tool": (
        "The most important tool of the trade is the {tool.en}.",
        "{s.en} works with {tool.a}.",
        "Without {tool.a} {s.en} cannot work.",
    ),
    "trade_years": (
        "It takes {n.en} years to learn this trade.",
        "{s.en} has to learn for {n.en} years.",
        "After {n.en} years of learning one is a master.",
    ),
    "trade_price": (
        "{s.en} sells {good.plural} for {n.en} coins each.",
        "One {good.en} costs {n.en} coins.",
        "For {n.en} coins {s.en} gives you one {good.en}.",
        "{s.en} asks {n.en} coins for one {good.en}.",
    ),
    "trade_master": (
        "{person.en} in {town.en} is a master of this craft.",
        "A good master is {person.en} in {town.en}.",
        "Those who want to learn go to {person.en} in {town.en}.",
    ),
    "dish_parts": (
        "To make {s.en} you need {one.en}, {two.en} and {three.en}.",
        "{one.en}, {two.en} and {three.en} are what {s.en} is made of.",
        "Take {one.en}, {two.en} and {three.en} if you want to cook {s.en}.",
    ),
    "dish_wash": (
        "First wash and cut the {one.en}.",
        "Begin with the {one.en}: wash it well.",
        "Put the {one.en} in cold water first.",
    ),
    "dish_cook": (
        "Then cook the {one.en} with the {two.en} for {n.en} minutes.",
        "Add the {two.en} and wait {n.en} minutes.",
        "Cook everything for {n.en} minutes on a small fire.",
        "The {one.en} and the {two.en} need {n.en} minutes on the fire.",
    ),
    "dish_add": (
        "Add the {three.en} at the end.",
        "At last, put in some {three.en}.",
        "The {three.en} is added just before serving.",
    ),
    "dish_season": (
        "People like to eat {s.en} in {season.en}.",
        "{season.en} is the best time for {s.en}.",
        "In {season.en} every family cooks {s.en}.",
    ),
    "dish_price": (
        "In the tea house {s.en} costs {n.en} coins.",
        "A portion of {s.en} is sold for {n.en} coins.",
        "You pay {n.en} coins for {s.en}.",
    ),
    "person_trade": (
        "{s.en} works as {trade.a} in {town.en}.",
        "{s.en} is {trade.a} who lives in {town.en}.",
        "In {town.en} {s.en} earns a living as {trade.a}.",
        "{s.en}, {trade.a} by trade, lives in {town.en}.",
    ),
    "person_born": (
        "{s.en} was born in {town.en} in {year.en}.",
        "In {year.en} {s.en} was born in {town.en}.",
        "{s.en} came into the world in {town.en} in the year {year.en}.",
    ),
    "person_makes": (
        "{s.en} makes {good.plural} from {material.en}.",
        "Every day {s.en} makes {good.plural}, and the {material.en} is always good.",
        "{s.en} is proud of {s.own} {good.plural}.",
    ),
    "person_animal": (
        "The animal {s.en} likes best is the {animal.en}.",
        "{s.en} likes to watch {animal.plural}.",
        "{s.en} once drew {animal.a} on the wall.",
    ),
    "person_dish": (
        "{s.en} likes to eat {dish.en}.",
        "{s.own} favourite food is {dish.en}.",
        "When there is something to celebrate, {s.en} cooks {dish.en}.",
    ),
    "person_character": (
        "{s.en} is {one.en} and {two.en}.",
        "Everybody says that {s.en} is {one.en} and also {two.en}.",
        "Neighbours find {s.en} {one.en} and {two.en}.",
    ),
    "person_hobby": (
        "In {s.own} free time {s.en} enjoys {hobby.en}.",
        "{s.en} loves {hobby.en}.",
        "Nothing makes {s.en} happier than {hobby.en}.",
    ),
    "person_river": (
        "{s.en} often walks along {river.en}.",
        "From {s.own} window one can see {river.en}.",
        "As a child {s.en} swam in {river.en}.",
    ),
    "person_parents": (
        "{s.own} father is {father.en} and {s.own} mother is {mother.en}.",
        "{s.en} is a child of {father.en} and {mother.en}.",
        "{father.en} and {mother.en} are the parents of {s.en}.",
    ),
    "person_sibling": (
        "{s.en} grew up together with {person.en}.",
        "{person.en} and {s.en} come from the same family.",
        "{s.en} has the same parents as {person.en}.",
    ),
    "person_spouse": (
        "{s.en} married {person.en} in {year.en}.",
        "In {year.en} {s.en} and {person.en} were married.",
        "{s.en} has been married to {person.en} since {year.en}.",
    ),
    "person_child": (
        "One of {s.own} children is {person.en}.",
        "{s.en} has a child called {person.en}.",
        "{person.en} is a child of {s.en}.",
    ),
    "person_younger": (
        "{s.en} is {n.en} years younger than {person.en}.",
        "{s.en} was born when {person.en} was {n.en} years old.",
        "{person.en} is {n.en} years older than {s.en}.",
    ),
    "family_is": (
        "{s.en} and {person.en} live in {town.en} and have {n.en} children in all.",
        "The family of {s.en} and {person.en} lives in {town.en}; it has {n.en} children in all.",
        "In {town.en} lives the family of {s.en} and {person.en}, with {n.en} children in all.",
    ),
    "journey_start": (
        "On {month.en} {n.en}, {year.en}, {s.en} went from {a.en} to {b.en} {vehicle.en}.",
        "{s.en} left {a.en} for {b.en} {vehicle.en} on {month.en} {n.en}, {year.en}.",
        "It was {month.en} {n.en}, {year.en}, when {s.en} set out from {a.en} to {b.en} "
        "{vehicle.en}.",
    ),
    "journey_reason": (
        "{s.en} wanted {reason.en}.",
        "The purpose was {reason.en}.",
        "{s.en} made the journey {reason.en}.",
    ),
    "weather_is": (
        "The weather was {weather.en} that day.",
        "It was {weather.en} when {s.en} got up.",
        "All day long it was {weather.en}.",
    ),
    "weather_town": (
        "The weather in {s.en} was {weather.en}.",
        "It was {weather.en} in {s.en} that day.",
        "That morning it was {weather.en} in {s.en}.",
    ),
    "journey_stop": (
        "On the way {s.en} stopped in {town.en} and ate {dish.en}.",
        "In {town.en} {s.en} took a rest and had some {dish.en}.",
        "At noon {s.en} reached {town.en}, where the {dish.en} tasted very good.",
    ),
    "journey_meet": (
        "There {s.en} met {person.en}, {trade.a} from {town.en}.",
        "{s.en} talked for a long time with {person.en}, who is {trade.a} in {town.en}.",
        "{person.en}, {trade.a} from {town.en}, was going the same way.",
    ),
    "buys": (
        "{s.en} bought {count.en} {good.plural} for {each.en} coins each and paid {n.en} coins.",
        "{s.en} paid {n.en} coins for {count.en} {good.plural}, that is {each.en} coins for each.",
        "One {good.en} costs {each.en} coins, so {s.en} paid {n.en} coins for {count.en}.",
    ),
    "market_earned": (
        "In the evening {s.en} had earned {n.en} coins.",
        "{s.en} went home with {n.en} coins.",
        "That day {s.en} took in {n.en} coins.",
    ),
    "journey_feel": (
        "{s.en} felt {feeling.en}.",
        "{s.en} was {feeling.en} about it.",
        "One could see that {s.en} was {feeling.en}.",
    ),
    "journey_end": (
        "After {n.en} hours {s.en} arrived in {b.en}.",
        "{s.en} reached {b.en} after {n.en} hours.",
        "The journey took {n.en} hours, and then {s.en} saw the first houses of {b.en}.",
    ),
    "story_find": (
        "One day {s.en} found {thing.a} {place.en} in {town.en}.",
        "In {town.en}, {place.en}, {s.en} saw {thing.a} on the ground.",
        "{s.en} was walking through {town.en} and found {thing.a} {place.en}.",
    ),
    "story_ask": (
        '{s.en} asked {person.en}: "Whose {thing.en} is this?"',
        '{s.en} showed the {thing.en} to {person.en} and asked: "Do you know it?"',
        "{s.en} went to {person.en} and asked who had lost the {thing.en}.",
    ),
    "story_owner": (
        '{s.en} answered: "It belongs to {person.en}."',
        '"The {thing.en} belongs to {person.en}," said {s.en}.',
        "{s.en} knew that {person.en} had lost the {thing.en}.",
    ),
    "story_sick": (
        "{s.en} had {sickness.en} and was lying in bed.",
        "{s.en} could not go out because of {sickness.en}.",
        "For three days {s.en} had been at home with {sickness.en}.",
    ),
    "story_give": (
        "{s.en} brought the {thing.en} to {person.en}.",
        "So {s.en} gave the {thing.en} back to {person.en}.",
        "The same evening {s.en} took the {thing.en} to {person.en}.",
    ),
    "story_thanks": (
        "{s.en} thanked {person.en} and cooked {dish.en} for two.",
        '"Thank you!" said {s.en} to {person.en}, and they ate {dish.en} together.',
        "{s.en} was so glad that {person.en} had to stay and eat {dish.en}.",
    ),
}

QUESTIONS: dict[str, tuple[str, ...]] = {
    "town_is": ("Where is {s.en}?", "What is {s.en}?"),
    "town_river": ("Which river flows past {s.en}?", "On which river does {s.en} stand?"),
    "town_population": ("How many people live in {s.en}?", "What is the population of {s.en}?"),
    "town_founded": ("When was {s.en} founded?", "How old is {s.en}?"),
    "town_product": ("What is {s.en} known for?", "What do people make in {s.en}?"),
    "town_dish": ("What do people eat in {s.en}?", "What is the favourite food in {s.en}?"),
    "town_festival": (
        "When is the {festival.en} of {s.en}?",
        "What happens in {s.en} in {month.en}?",
    ),
    "town_market": ("When is market day in {s.en}?", "On which day is the market of {s.en}?"),
    "town_neighbour": ("How far is it from {town.en} to {s.en}?", "Where does {s.en} lie?"),
    "river_source": ("Where does {s.en} rise?", "Where is the source of {s.en}?"),
    "river_end": ("Where does {s.en} end?", "Into which water does {s.en} flow?"),
    "river_length": ("How long is {s.en}?",),
    "river_fish": ("Which fish live in {s.en}?",),
    "animal_home": ("Where does {s.en} live?", "Where can one find {s.en}?"),
    "animal_eats": ("What does {s.en} eat?", "What is the food of {s.en}?"),
    "animal_life": ("How old can {s.en} become?", "How long does {s.en} live?"),
    "animal_is": ("What kind of animal is {s.en}?", "What colour is {s.en}?"),
    "plant_flower": ("When does {s.en} flower?", "What colour are the flowers of {s.en}?"),
    "plant_use": ("What is {s.en} good for?",),
    "plant_is": ("Where does {s.en} grow?",),
    "trade_makes": ("What does {s.en} make?", "What does {s.en} need?"),
    "trade_tool": ("Which tool does {s.en} use?",),
    "trade_price": ("How much does one {good.en} cost?", "What is the price of one {good.en}?"),
    "dish_parts": ("How do you make {s.en}?", "What do I need for {s.en}?"),
    "dish_season": ("When do people eat {s.en}?",),
    "person_trade": ("What does {s.en} do?", "Where does {s.en} work?"),
    "person_born": ("When was {s.en} born?", "Where was {s.en} born?"),
    "person_dish": ("What does {s.en} like to eat?",),
    "person_hobby": ("What does {s.en} do in the evening?", "What does {s.en} like to do?"),
    "person_parents": ("Who are the parents of {s.en}?",),
    "person_spouse": ("To whom is {s.en} married?", "When did {s.en} marry?"),
    "person_character": ("What is {s.en} like?",),
    "buys": ("How much did {s.en} pay for {count.en} {good.plural}?",),
}

GRAMMAR = Grammar(
    forms=FORMS,
    questions=QUESTIONS,
    titles=("{title.en}", "About {title.en}", "{title.en} ({category.en})", "Notes on {title.en}"),
    openings=(
        "Write a short text about {title.en}.",
        "Tell me something about {title.en}.",
        "What do you know about {title.en}?",
        "Describe {title.en} in a few sentences.",
    ),
    gap=" ",
)
TRANSLATE_TO_ENGLISH = (
    "Translate the following sentence into English.",
    "What does this mean in English?",
    "Give the English translation.",
)
