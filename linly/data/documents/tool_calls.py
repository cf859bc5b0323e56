"""Tools and tool calls in the forms that datasets have, in OpenAI's form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from linly.data.reading.records import UnusableRecord, clean_text

_MAX_SHOWN = 60


def read_tools(value: object, name: str) -> str:
    """The tools of a record as JSON in OpenAI's form; "" for none.

    Args:
        value: A list of descriptions, of functions or of tools; or such a list as JSON.
        name: The field's name, for errors.

    Raises:
        UnusableRecord: It is neither.
    """
    value = parsed_json(value, name) if isinstance(value, str) and value.strip() else value
    if not value:
        return ""
    tools: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(tool, dict) and _function_name(tool) for tool in tools):
        raise UnusableRecord(f"field {name!r} is not a list of tools with names")
    whole = [tool if "function" in tool else _typed(tool) for tool in tools]
    return clean_text(json.dumps([_without_nulls(t) for t in whole], ensure_ascii=False), name)


def read_calls(turn: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tool calls in OpenAI's form, of today or as one `function_call`."""
    value = turn.get("tool_calls")
    value = parsed_json(value, "tool_calls") if isinstance(value, str) and value.strip() else value
    if value and not isinstance(value, list):
        raise UnusableRecord("tool_calls of a turn are not a list")
    calls = [_call(call) for call in value or ()]
    if turn.get("function_call"):
        calls.append(_call(turn["function_call"]))
    return calls


def calls_in_text(text: str) -> list[dict[str, Any]]:
    """Tool calls that are a turn's text as JSON, as LLaMA-Factory has them."""
    value = parsed_json(text, "function_call")
    return [_call(call) for call in (value if isinstance(value, list) else [value])]


def _call(value: object) -> dict[str, Any]:
    function = value.get("function", value) if isinstance(value, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        raise UnusableRecord("a tool call of a turn has no function with a name")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        arguments = parsed_json(arguments or "{}", "arguments")
    if not isinstance(arguments, dict):
        raise UnusableRecord(f"the arguments of a call of {name!r} are not a JSON object")
    call: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": arguments}}
    given = value.get("id") if isinstance(value, dict) else None
    return {"id": given, **call} if isinstance(given, str) and given else call


def with_ids(calls: list[dict[str, Any]], before: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Give each call an id of nine letters and digits where it has none (Mistral wants that)."""
    whole = [{"id": f"call{number:05d}", **call} for number, call in enumerate(calls, start=before)]
    return whole, [call["id"] for call in whole]


def _function_name(tool: Mapping[str, Any]) -> str:
    function = tool.get("function", tool)
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else ""


def _typed(function: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": dict(function)}


def _without_nulls(value: Any) -> Any:
    """Parquet gives every key that some row has; a null there stands for none."""
    if isinstance(value, dict):
        return {key: _without_nulls(v) for key, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value


def parsed_json(text: str, name: str) -> Any:
    """The value of JSON that stands in a text.

    Raises:
        UnusableRecord: It is not JSON; names what it is.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        shown = text[:_MAX_SHOWN]
        raise UnusableRecord(f"{name} of a turn is not JSON: {error} ({shown!r})") from error
