"""A stand-in for LiveKit Inference: the same wire protocol, with engines on this machine.

Comes in: what `livekit.agents.inference` sends when LIVEKIT_INFERENCE_URL points here. That is chat
completions over HTTP, speech in over a WebSocket (`/v1/stt`), text to be spoken over another
(`/v1/tts`), each with a JWT signed by LIVEKIT_API_SECRET.

Goes out: replies made by rules, transcripts by Whisper tiny.en, a voice by flite. Descriptors such
as `deepgram/nova-3` are checked against the catalogue, but all are served by the same three engines.
"""
