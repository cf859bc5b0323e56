"""Converts tools and tool calls from the forms of datasets to OpenAI's form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from linly.data.reading.records import UnusableRecord, clean_text

_MAX_SHOWN = 60


def read_tools(value: object, name: str) -> str:
    """Return the tools of a record as JSON in OpenAI's form; "" for none.

    Args:
        value: List of descriptions, of functions or of tools; or such a list as JSON.
        name: Name of the field, for errors.

    Raises:
        UnusableRecord: If it is neither.
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
    """Return tool calls in OpenAI's form, from its current form or from one `function_call`."""
    value = turn.get("tool_calls")
    value = parsed_json(value, "tool_calls") if isinstance(value, str) and value.strip() else value
    if value and not isinstance(value, list):
        raise UnusableRecord("tool_calls of a turn are not a list")
    calls = [_call(call) for call in value or ()]
    if turn.get("function_call"):
        calls.append(_call(turn["function_call"]))
    return calls


def calls_in_text(text: str) -> list[dict[str, Any]]:
    """Return the tool calls that a turn's text contains as JSON, as in LLaMA-Factory."""
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
    """Add an id of nine letters and digits to each call without one (Mistral requires it)."""
    whole = [{"id": f"call{number:05d}", **call} for number, call in enumerate(calls, start=before)]
    return whole, [call["id"] for call in whole]


def _function_name(tool: Mapping[str, Any]) -> str:
    function = tool.get("function", tool)
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else ""


def _typed(function: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": dict(function)}


def _without_nulls(value: Any) -> Any:
    """Remove nulls: Parquet has every key of any row, with null where it is missing."""
    if isinstance(value, dict):
        return {key: _without_nulls(v) for key, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value


def parsed_json(text: str, name: str) -> Any:
    """Parse JSON inside a text.

    Raises:
        UnusableRecord: If it is not JSON; names the value.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        shown = text[:_MAX_SHOWN]
        raise UnusableRecord(f"{name} of a turn is not JSON: {error} ({shown!r})") from error
