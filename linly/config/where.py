"""Conditions under `where` of a corpus file: which records of a corpus are used."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, Strict, model_validator

from linly.config.yaml.json_forms import ALLOWED, JsonForm, JsonSchema
from linly.config.yaml.quantities import Text
from linly.config.yaml.strict_model import Model, describe, found, problem


def _check_scalar(value: Any) -> Any:
    if type(value) is int and not -(2**63) <= value < 2**64:
        raise problem(found(value, "a whole number of 64 bits, as a run's records hold"))
    return value


def _scalar_schema() -> JsonSchema:
    return {"type": ["boolean", "number", "string"], ALLOWED: "text, number, `true` or `false`"}


Scalar = Annotated[
    Annotated[bool, Strict()]
    | Annotated[int, Strict()]
    | Annotated[float, Strict()]
    | Annotated[str, Strict()],
    BeforeValidator(_check_scalar),
    JsonForm(_scalar_schema),
]


class Where(Model):
    """A condition that a record must meet; other records are left out, not quarantined.

    If the field is a list, or its path goes through one, every element must meet the condition. A
    record without the field is bad, unless the path ends with `?`: then the value is null. Null
    meets `not_in` and no other condition. In CSV and TSV, text that is a number compares as one.

    Attributes:
        field: Path in the record, as in `fields`.
        equal: Value that the field must have.
        in_: Values of which the field must have one.
        not_in: Values that the field must not have.
        at_least: Smallest number that the field may have.
        at_most: Largest number that the field may have.
        matches: Regular expression that must be found in the field's text.
    """

    field: Text
    equal: Scalar | None = None
    in_: tuple[Scalar, ...] | None = Field(default=None, alias="in")
    not_in: tuple[Scalar, ...] | None = None
    at_least: Annotated[float, Strict()] | None = None
    at_most: Annotated[float, Strict()] | None = None
    matches: Text | None = None

    @classmethod
    def file_schema(cls, schema: JsonSchema) -> JsonSchema:
        """Require exactly one condition; a condition that is null is none."""
        given = {"not": {"type": "null"}}
        one = [{"required": [key], "properties": {key: given}} for key in cls.conditions()]
        return schema | {"oneOf": one}

    @classmethod
    def conditions(cls) -> tuple[str, ...]:
        """Return the keys of conditions, as written in a file."""
        return tuple(key for key in cls.file_keys() if key != "field")

    @model_validator(mode="after")
    def _check_condition(self) -> Where:
        given = [key for key in self.short_form() if key != "field"]
        if len(given) != 1:
            text = " and ".join(given) or "no condition"
            raise problem(f"found {text}, allowed: exactly one of {', '.join(self.conditions())}")
        if self.matches is not None:
            try:
                re.compile(self.matches)
            except re.error as error:
                text = f"found {describe(self.matches)}, not a regular expression: {error}"
                raise problem(text, "matches") from None
        return self
