"""The models that an agent uses, named by LiveKit Inference descriptors."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from shared.contracts.names import check_characters

DESCRIPTOR_PATTERN = r"^[a-z0-9][a-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*(:[A-Za-z0-9._-]+)?$"
"""`provider/model`, with `:language` (stt) or `:voice` (tts) behind it."""


class Models(BaseModel):
    """A choice of models. For a field that is None, the worker uses its default.

    `stt` and `tts` may have a suffix, `:language` or `:voice`; the fields `voice` and `language` override it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stt: str | None = Field(None, pattern=DESCRIPTOR_PATTERN, examples=["deepgram/nova-3"])
    llm: str | None = Field(None, pattern=DESCRIPTOR_PATTERN, examples=["openai/gpt-5-mini"])
    tts: str | None = Field(None, pattern=DESCRIPTOR_PATTERN, examples=["cartesia/sonic-3"])
    realtime: str | None = Field(None, pattern=DESCRIPTOR_PATTERN, examples=["openai/gpt-realtime"])
    voice: Annotated[str, Field(max_length=128), AfterValidator(check_characters)] | None = None
    language: str | None = Field(None, pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")
