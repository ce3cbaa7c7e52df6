"""The unmodified livekit-agents client asks the real inference process for completions."""

from livekit.agents import (
    Agent,
    AgentSession,
    function_tool,
    inference,
    llm,
)
from livekit.agents.voice.run_result import RunResult

from tests.integration.inference.inference_process import Server, ask, closing, open_http


async def test_the_language_model_streams_a_conversation(server: Server) -> None:
    context = llm.ChatContext.empty()
    context.add_message(role="system", content="You are the front desk.")
    async with closing(inference.LLM("openai/gpt-5-mini", **server.credentials)) as model:
        context.add_message(role="user", content="Hello, my name is Anna.")
        context.add_message(role="assistant", content=(await ask(model, context))[0])
        context.add_message(role="user", content="What is my name?")
        text, pieces, usage = await ask(model, context)
    assert text == "Your name is Anna."
    assert pieces == 4
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0


class Reception(Agent):
    """An agent with a tool, and with a colleague."""

    def __init__(self) -> None:
        super().__init__(instructions="You are the front desk.")
        self.asked: list[str] = []

    @function_tool
    async def lookup_weather(self, location: str) -> str:
        """Look up the weather."""
        self.asked.append(location)
        return f"sunny in {location}"

    @function_tool
    async def transfer_to_billing(self) -> Agent:
        """Let a colleague answer questions about bills."""
        return Billing(instructions="You know about bills.", chat_ctx=self.chat_ctx)


class Billing(Agent):
    """The colleague."""


async def test_the_language_model_calls_tools_and_says_what_they_found(server: Server) -> None:
    reception = Reception()
    model = inference.LLM("openai/gpt-5-mini", **server.credentials)
    async with closing(model), AgentSession(llm=model) as session:
        await session.start(reception)
        found: RunResult[None] = await session.run(user_input="What is the weather in Paris?")
        found.expect.next_event().is_function_call(name="lookup_weather", arguments={"location": "Paris"})
        found.expect.next_event().is_function_call_output(output="sunny in Paris")
        said = found.expect.next_event().is_message(role="assistant")
        assert said.event().item.text_content == "Here is what I found: sunny in Paris."
        found.expect.no_more_events()
        assert reception.asked == ["Paris"]

        handed: RunResult[None] = await session.run(user_input="I have a question about billing.")
        handed.expect.contains_function_call(name="transfer_to_billing")
        handed.expect.contains_agent_handoff(new_agent_type=Billing)
        assert isinstance(session.current_agent, Billing)


async def test_a_call_of_a_tool_can_be_had_whole(server: Server) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": schema}}
    body = {
        "model": "openai/gpt-4o",
        "messages": [{"role": "user", "content": "The weather in Rome?"}],
        "tools": [tool],
    }
    async with open_http() as http:
        answer = await http.post(f"{server.origin}/v1/chat/completions", json=body)
        (choice,) = (await answer.json())["choices"]
        refused = await http.post(f"{server.origin}/v1/chat/completions", json={**body, "tools": ["x"]})
        assert refused.status == 400
    (call,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert call["function"] == {"name": "get_weather", "arguments": '{"city": "Rome"}'}


async def test_a_completion_can_be_had_whole(server: Server) -> None:
    body = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "2 plus 2?"}]}
    async with open_http() as http:
        answer = await http.post(f"{server.origin}/v1/chat/completions", json=body)
        completion = await answer.json()
        models = await (await http.get(f"{server.origin}/v1/models")).json()
    assert completion["choices"][0]["message"]["content"] == "2 plus 2 is 4."
    assert completion["choices"][0]["finish_reason"] == "stop"
    assert "openai/gpt-5-mini" in {model["id"] for model in models["data"]}
