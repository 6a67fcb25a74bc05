"""OpenAI's agents SDK, on the chat completions contract."""

from __future__ import annotations

import asyncio

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from asking import CHAT_MODEL, KEY, PICTURE, QUESTION, RESULT, SYSTEM, root, run
from openai import AsyncOpenAI
from openai.types.shared import Reasoning
from pydantic import BaseModel


class Weather(BaseModel):
    """The weather in a city."""

    city: str
    celsius: int


@function_tool
def get_weather(city: str) -> str:
    """Tells the weather."""
    return f"{city}: {RESULT}"


def agent(case: str, **options: object) -> Agent:
    """Return an agent that asks the case's address."""
    client = AsyncOpenAI(base_url=f"{root(case)}/v1", api_key=KEY, max_retries=0)
    model = OpenAIChatCompletionsModel(CHAT_MODEL, client)
    return Agent(name="meteorologist", instructions=SYSTEM, model=model, **options)


def asked(agent: Agent, question: object = QUESTION) -> object:
    """Run the agent to its end."""
    return Runner.run_sync(agent, question).final_output


def streamed(agent: Agent) -> object:
    """Run the agent and read its stream."""

    async def read() -> object:
        result = Runner.run_streamed(agent, QUESTION)
        async for _ in result.stream_events():
            pass
        return result.final_output

    return asyncio.run(read())


IMAGE = {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PICTURE}"}
WITH_IMAGE = [{"role": "user", "content": [{"type": "input_text", "text": QUESTION}, IMAGE]}]
SETTINGS = ModelSettings(temperature=1.4, parallel_tool_calls=False, metadata={"trip": "paris"}, store=False)
EFFORT = ModelSettings(reasoning=Reasoning(effort="low"), verbosity="low")

set_tracing_disabled(disabled=True)
run(
    {
        "chat-plain": lambda case: asked(agent(case)),
        "chat-stream": lambda case: streamed(agent(case)),
        "chat-tools": lambda case: asked(agent(case, tools=[get_weather])),
        "chat-temperature": lambda case: asked(agent(case, tools=[get_weather], model_settings=SETTINGS)),
        "chat-thinking": lambda case: asked(agent(case, tools=[get_weather], model_settings=EFFORT)),
        "chat-structured": lambda case: asked(agent(case, output_type=Weather)),
        "chat-picture": lambda case: asked(agent(case), WITH_IMAGE),
        "chat-handoff": lambda case: asked(agent(case, handoffs=[Agent(name="geographer", instructions=SYSTEM)])),
    }
)
