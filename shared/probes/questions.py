"""The probes: short questions with random numbers, forced tool calls, and choices to sample. Pure: randomness is a parameter.

They contain nothing from customers. Each probe is drawn from many templates and filled with random numbers and words, so a
provider cannot recognize it by its text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, NamedTuple

# Two of four probes are questions, because these are compared in three ways: by answer, token counts and log probabilities.
SHAPES = ("question", "tool", "question", "choice")
QUESTION_TOKENS = 12
TOOL_TOKENS = 120
CHOICE_TOKENS = 6
TOP_LOGPROBS = 5
CHOICE_SIZE = 4
MAX_ANSWER_LENGTH = 200  # characters that are compared

_NAMES = ("Ada", "Ben", "Cleo", "Dario", "Edith", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Keiko", "Lars", "Mina", "Nora")
_THINGS = ("apples", "books", "chairs", "coins", "eggs", "keys", "lamps", "pencils", "shirts", "stamps", "tickets", "towels")
_WORDS = (
    *("anchor", "basket", "candle", "desert", "engine", "forest", "garden", "hammer", "island", "jacket", "kettle", "ladder"),
    *("marble", "needle", "orange", "pillow", "rocket", "saddle", "temple", "violin", "window", "yellow"),
)
_CAPITALS = {
    **{"Austria": "Vienna", "Chile": "Santiago", "Egypt": "Cairo", "Finland": "Helsinki", "Greece": "Athens"},
    **{"Hungary": "Budapest", "Ireland": "Dublin", "Japan": "Tokyo", "Kenya": "Nairobi", "Norway": "Oslo", "Peru": "Lima"},
    **{"Poland": "Warsaw", "Portugal": "Lisbon", "Spain": "Madrid", "Sweden": "Stockholm", "Thailand": "Bangkok"},
}
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_CITIES = ("Berlin", "Boston", "Cairo", "Delhi", "Lagos", "Lima", "Madrid", "Osaka", "Oslo", "Paris", "Quito", "Sydney")


class Probe(NamedTuple):
    """One probe.

    shape     of `SHAPES`
    body      of the chat call, without the model
    expected  a question's correct answer
    options   a choice's possible answers
    tool      name and JSON schema of a forced tool call: properties of strings and integers, all of them required
    """

    shape: str
    body: Mapping[str, Any]
    expected: str = ""
    options: tuple[str, ...] = ()
    tool: tuple[str, Mapping[str, Any]] | None = None


def draw_probe(shape: str, random: Random) -> Probe:
    """Return a new probe of a shape."""
    return {"question": _question, "tool": _tool, "choice": _choice}[shape](random)


def normalize_answer(text: str) -> str:
    """Return an answer in lower case, with single spaces, without punctuation around it."""
    return " ".join(text[:MAX_ANSWER_LENGTH].split()).strip(" .,:;!\"'`*").lower()


def is_correct(probe: Probe, text: str) -> bool:
    """Return whether an answer contains the expected one."""
    answer = text.replace(",", "") if probe.expected.isdecimal() else text
    return re.search(rf"(?<!\w){re.escape(probe.expected)}(?!\w)", answer, re.IGNORECASE) is not None


def choice_index(probe: Probe, text: str) -> int:
    """Return the index of the chosen option, or the number of options if the answer names none of them, or several."""
    named = [index for index, option in enumerate(probe.options) if re.search(rf"(?<!\w){re.escape(option)}(?!\w)", text)]
    return named[0] if len(named) == 1 else len(probe.options)


def is_valid_tool_call(probe: Probe, message: Mapping[str, Any]) -> bool:
    """Return whether a message has exactly the forced tool call, with arguments that match its schema."""
    calls = message.get("tool_calls")
    if probe.tool is None or not isinstance(calls, list) or len(calls) != 1:
        return False
    name, schema = probe.tool
    function = calls[0].get("function") or {}
    try:
        arguments = json.loads(function.get("arguments") or "")
    except (TypeError, ValueError):
        return False
    properties = schema["properties"]
    return (
        function.get("name") == name
        and isinstance(arguments, dict)
        and set(arguments) == set(properties)
        and all(_matches(arguments[field], properties[field]) for field in properties)
    )


def _matches(value: object, schema: Mapping[str, Any]) -> bool:
    if schema["type"] == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, str) and value in schema.get("enum", (value,))


def _question(random: Random) -> Probe:
    text, expected = random.choice(_QUESTIONS)(random)
    body = {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": QUESTION_TOKENS,
        "temperature": 0,
        "seed": random.randrange(1, 2**31),
        "logprobs": True,
        "top_logprobs": TOP_LOGPROBS,
    }
    return Probe("question", body, expected=expected)


def _sum(random: Random) -> tuple[str, str]:
    a, b = random.randrange(100, 1000), random.randrange(100, 1000)
    form = random.choice(("What is {} + {}?", "Add {} and {}.", "Compute {} plus {}."))
    return form.format(a, b) + _only("number", random), str(a + b)


def _difference(random: Random) -> tuple[str, str]:
    a, b = random.randrange(500, 1000), random.randrange(10, 500)
    return f"What is {a} - {b}?" + _only("number", random), str(a - b)


def _product(random: Random) -> tuple[str, str]:
    a, b = random.randrange(3, 30), random.randrange(3, 30)
    return f"What is {a} times {b}?" + _only("number", random), str(a * b)


def _larger(random: Random) -> tuple[str, str]:
    a, b = random.sample(range(1000, 10_000), 2)
    return f"Which number is larger, {a} or {b}?" + _only("number", random), str(max(a, b))


def _sequence(random: Random) -> tuple[str, str]:
    start, step = random.randrange(2, 90), random.randrange(2, 12)
    shown = ", ".join(str(start + step * place) for place in range(4))
    return f"Which number comes next: {shown}, …?" + _only("number", random), str(start + 4 * step)


def _story(random: Random) -> tuple[str, str]:
    first, second = random.sample(_NAMES, 2)
    has, gives = random.randrange(40, 99), random.randrange(3, 39)
    thing = random.choice(_THINGS)
    text = f"{first} has {has} {thing} and gives {gives} of them to {second}. How many {thing} does {first} have now?"
    return text + _only("number", random), str(has - gives)


def _capital(random: Random) -> tuple[str, str]:
    country = random.choice(sorted(_CAPITALS))
    number = random.randrange(100, 1000)
    return f"Question {number}: What is the capital of {country}?" + _only("name", random), _CAPITALS[country]


def _repeat(random: Random) -> tuple[str, str]:
    code = f"{random.choice(_WORDS)}-{random.randrange(1000, 10_000)}"
    return f"Repeat this code exactly and write nothing else: {code}", code


def _day(random: Random) -> tuple[str, str]:
    today, days = random.randrange(7), random.randrange(2, 60)
    text = f"Today is {_DAYS[today]}. Which day of the week is it in {days} days?"
    return text + _only("day", random), _DAYS[(today + days) % 7]


def _position(random: Random) -> tuple[str, str]:
    words, place = random.sample(_WORDS, 5), random.randrange(1, 4)
    name = ("first", "second", "third", "fourth", "fifth")[place]
    return f"What is the {name} word of this list: {', '.join(words)}?" + _only("word", random), words[place]


def _letters(random: Random) -> tuple[str, str]:
    word = random.choice(_WORDS) + random.choice(_WORDS)[:3]
    return f"How many letters does the word '{word}' have?" + _only("number", random), str(len(word))


def _only(what: str, random: Random) -> str:
    return " " + random.choice((f"Answer with the {what} only.", f"Reply with just the {what}.", f"Give only the {what}."))


_QUESTIONS: tuple[Callable[[Random], tuple[str, str]], ...] = (
    *(_sum, _difference, _product, _larger, _sequence, _story, _capital, _repeat, _day, _position, _letters),
)


def _choice(random: Random) -> Probe:
    numbers = random.sample(range(10, 100), CHOICE_SIZE)
    shown = ", ".join(map(str, numbers))
    form = random.choice(("Pick one of these numbers at random: {}.", "Choose any one of {}.", "Select one number: {}."))
    body = {
        "messages": [{"role": "user", "content": form.format(shown) + _only("number", random)}],
        "max_tokens": CHOICE_TOKENS,
        "temperature": 1,
    }
    return Probe("choice", body, options=tuple(map(str, numbers)))


def _tool(random: Random) -> Probe:
    name, description, properties, text = random.choice(_TOOLS)(random)
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    body = {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": TOOL_TOKENS,
        "temperature": 0,
        "tools": [{"type": "function", "function": {"name": name, "description": description, "parameters": schema}}],
        "tool_choice": {"type": "function", "function": {"name": name}},
    }
    return Probe("tool", body, tool=(name, schema))


_ToolParts = tuple[str, str, dict[str, Any], str]


def _weather(random: Random) -> _ToolParts:
    city, days = random.choice(_CITIES), random.randrange(2, 15)
    unit = {"type": "string", "enum": ["celsius", "fahrenheit"]}
    properties = {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": unit}
    text = f"Get the weather forecast for {city} for the next {days} days in {random.choice(unit['enum'])}."
    return "get_forecast", "Get the weather forecast of a city.", properties, text


def _order(random: Random) -> _ToolParts:
    thing, count, number = random.choice(_THINGS), random.randrange(2, 500), random.randrange(10_000, 100_000)
    speed = {"type": "string", "enum": ["standard", "express"]}
    properties = {"item": {"type": "string"}, "quantity": {"type": "integer"}, "customer": {"type": "integer"}, "shipping": speed}
    text = f"Order {count} {thing} for customer {number} with {random.choice(speed['enum'])} shipping."
    return "create_order", "Create an order.", properties, text


def _meeting(random: Random) -> _ToolParts:
    name, minutes = random.choice(_NAMES), random.randrange(15, 120, 5)
    day = {"type": "string", "enum": list(_DAYS)}
    properties = {"person": {"type": "string"}, "day": day, "minutes": {"type": "integer"}}
    return "schedule_meeting", "Schedule a meeting.", properties, f"Meet {name} for {minutes} minutes on {random.choice(_DAYS)}."


_TOOLS: tuple[Callable[[Random], _ToolParts], ...] = (_weather, _order, _meeting)
