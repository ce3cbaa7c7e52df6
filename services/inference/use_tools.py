"""Decide whether the caller's words ask for one of the agent's tools, and with which arguments.

It stands in for what a language model does, by rules. A tool is asked for when half of the words of its name
are heard, such as "weather" for `lookup_weather`. A handoff to another agent is a tool like any other.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from services.inference.ports import Message, Parameter, Tool, ToolCall, Tools
from services.inference.tool_arguments import answer_to, arguments_in, missing_in, words_in

# Words in a tool's name that say nothing about its topic.
_IDLE: Final = re.compile(
    r"(a|an|and|by|call|check|current|do|fetch|find|for|from|get|give|in|load|look|lookup|make|new|of|on|or"
    r"|read|request|run|set|show|tell|the|to|tool|transfer|up|use|user|with)"
)
_QUESTION: Final = re.compile(r"Please tell me the (?P<parameter>.+)\.")


def use_tools(messages: Sequence[Message], tools: Tools) -> ToolCall | str | None:
    """Return the call to make, or the question to ask before it; None if no tool is asked for.

    Only the caller's words ask for a tool. A request that demands a call gets one whatever was said last.
    """
    spoken = [message for message in messages if message.role in ("user", "assistant", "tool", "function")]
    heard = [message.text for message in spoken if message.role == "user"] or [""]
    if tools.forced and tools.known:
        tool = choose_tool(heard[-1], tools.known) or tools.known[0]
        return ToolCall(name=tool.name, arguments=arguments_in(heard[-1], tool))
    if not spoken or spoken[-1].role != "user":
        return None
    said = next((m.text for m in reversed(spoken) if m.role == "assistant" and m.text.strip()), "")
    return _after_question(said, heard, tools.known) or _asked_for(heard[-1], tools.known)


def choose_tool(heard: str, known: Sequence[Tool]) -> Tool | None:
    """Return the tool with the most of its name heard, at least half; of equals the first."""
    stems = {_stem(word) for word in words_in(heard)}
    best = max(known, key=lambda tool: _share(tool, stems), default=None)
    return best if best is not None and _share(best, stems) >= 0.5 else None


def _asked_for(heard: str, known: Sequence[Tool]) -> ToolCall | str | None:
    tool = choose_tool(heard, known)
    if tool is None:
        return None
    missing = missing_in(heard, tool)
    if missing is not None:
        return f"Please tell me the {_spelled(missing.name)}."
    return ToolCall(name=tool.name, arguments=arguments_in(heard, tool))


def _after_question(said: str, heard: Sequence[str], known: Sequence[Tool]) -> ToolCall | None:
    """Return the call that waits for the answer to our question, if we asked one last."""
    question = _QUESTION.fullmatch(said.strip())
    tool = choose_tool(heard[-2], known) if question is not None and len(heard) > 1 else None
    if question is None or tool is None:
        return None
    answers: dict[str, Any] = {
        parameter.name: answer_to(heard[-1], parameter)
        for parameter in tool.parameters
        if _is_asked(parameter, question["parameter"])
    }
    return ToolCall(name=tool.name, arguments=arguments_in(heard[-2], tool) | answers)


def _is_asked(parameter: Parameter, spelled: str) -> bool:
    return _spelled(parameter.name) == spelled


def _share(tool: Tool, stems: set[str]) -> float:
    words = words_in(_spelled(tool.name))
    topic = {_stem(word) for word in words if not _IDLE.fullmatch(word)} or {_stem(word) for word in words}
    return len(topic & stems) / len(topic) if topic else 0.0


def _spelled(name: str) -> str:
    """`lookUp_weather` as words: `look up weather`."""
    return re.sub(r"[_\-.\s]+|(?<=[a-z0-9])(?=[A-Z])", " ", name).strip().lower()


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word
