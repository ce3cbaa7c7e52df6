"""The stand-in's language model calls a tool when the words ask for one, and fills in what they hold."""

from typing import Any

import pytest

from services.inference.ports import Message, ToolCall
from services.inference.request_refused import RequestRefused
from services.inference.tool_schema import read_tools
from services.inference.use_tools import use_tools


def _tool(name: str, /, **properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "strict": True, "parameters": parameters}}


TEXT = {"type": "string"}
WEATHER = _tool("lookup_weather", location=TEXT, unit={"enum": ["C", "F", None], "type": ["string", "null"]})
TOOLS = [
    WEATHER,
    _tool("multiplyNumbers", a={"type": "number"}, b={"type": "integer"}),
    _tool("transfer_to_billing"),
    _tool("book_table", name=TEXT, day={"anyOf": [{"type": "null"}, TEXT]}, guests={"type": "integer"}),
    _tool("order_food", dishes={"type": "array", "items": {"enum": ["pizza", "pasta"]}}),
    _tool("search_docs", query=TEXT, exact={"type": "boolean"}),
    _tool("hang_up"),
]


def _used(*texts: str, **more: Any) -> ToolCall | str | None:
    """What follows when the caller and the agent have said this in turn, the caller first."""
    roles = ["user", "assistant"] * len(texts)
    messages = [Message(role=role, text=text) for role, text in zip(roles, texts, strict=False)]
    return use_tools(messages, read_tools({"tools": TOOLS, **more}))


@pytest.mark.parametrize(
    ("words", "name", "arguments"),
    [
        ("What is the weather in Paris?", "lookup_weather", {"location": "Paris", "unit": None}),
        (
            "What's the weather in F like in New York today?",
            "lookup_weather",
            {"location": "New York", "unit": "F"},
        ),
        ("weather for the city of Lyon please", "lookup_weather", {"location": "Lyon", "unit": None}),
        ("Multiply seven by 6.", "multiplyNumbers", {"a": 7, "b": 6}),
        ("Multiply 2.5 and three.", "multiplyNumbers", {"a": 2.5, "b": 3}),
        ("I have a question about billing.", "transfer_to_billing", {}),
        (
            "My name is Anna, a table for four on Tuesday.",
            "book_table",
            {"name": "Anna", "day": "Tuesday", "guests": 4},
        ),
        ("I'd like to order a pizza.", "order_food", {"dishes": ["pizza"]}),
        ("Search the docs for webhooks.", "search_docs", {"query": "webhooks", "exact": True}),
        ("Please hang up.", "hang_up", {}),
    ],
)
def test_the_words_name_a_tool_and_its_arguments(words: str, name: str, arguments: dict[str, Any]) -> None:
    assert _used(words) == ToolCall(name=name, arguments=arguments)


@pytest.mark.parametrize("words", ["Hello, my name is Anna.", "What are your opening hours?", "", " . "])
def test_other_words_ask_for_no_tool(words: str) -> None:
    assert _used(words) is None


@pytest.mark.parametrize("answer", ["Paris.", "I'm in Paris.", "In Paris, please."])
def test_what_only_the_caller_knows_is_asked_for(answer: str) -> None:
    question = "Please tell me the location."
    assert _used("What's the weather?") == question
    assert _used("What's the weather?", question, answer) == ToolCall(
        name="lookup_weather", arguments={"location": "Paris", "unit": None}
    )


def test_the_result_of_a_tool_calls_no_other() -> None:
    messages = [
        Message(role="user", text="What is the weather in Paris?"),
        Message(role="assistant", text=""),
        Message(role="tool", text="sunny weather"),
    ]
    assert use_tools(messages, read_tools({"tools": TOOLS})) is None


def test_a_request_may_forbid_a_call_or_demand_one() -> None:
    weather = "What is the weather in Paris?"
    assert _used(weather, tool_choice="none") is None
    in_paris = ToolCall(name="lookup_weather", arguments={"location": "Paris", "unit": None})
    assert _used(weather, tool_choice="required") == in_paris
    assert _used("Hello.", tool_choice="required") == ToolCall(
        name="lookup_weather", arguments={"location": "", "unit": None}
    )
    named = {"type": "function", "function": {"name": "hang_up"}}
    assert _used(weather, tool_choice=named) == ToolCall(name="hang_up", arguments={})


def test_a_schema_may_refer_to_its_parts_and_to_itself() -> None:
    schema = {
        "properties": {"size": {"$ref": "#/$defs/Size"}, "tree": {"$ref": "#/$defs/Tree"}},
        "required": ["size"],
        "$defs": {"Size": {"enum": ["small", "large"]}, "Tree": {"anyOf": [{"$ref": "#/$defs/Tree"}]}},
    }
    tools = [{"type": "function", "function": {"name": "order_shirt", "parameters": schema}}]
    call = use_tools([Message(role="user", text="Order a large shirt")], read_tools({"tools": tools}))
    assert isinstance(call, ToolCall)
    assert call.arguments == {"size": "large"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": {}}, None),
        ({"tools": {"a": 1}}, "tools"),
        ({"tools": ["lookup_weather"]}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "a", "parameters": []}}]}, None),
        ({"tools": [{"type": "function", "function": {"name": "a", "parameters": 1}}]}, "tools"),
        ({"tools": TOOLS, "tool_choice": {"function": {"name": "b"}}}, "tool_choice"),
        ({"tools": [{"type": "web_search"}]}, None),
    ],
)
def test_tools_in_another_shape_are_refused(body: dict[str, Any], param: str | None) -> None:
    if param is None:  # empty, or of a kind that is left out
        read_tools(body)
        return
    with pytest.raises(RequestRefused) as refused:
        read_tools(body)
    assert refused.value.param == param
