"""A stand-in for LiveKit Inference: the same wire protocol, with engines on this machine.

In: what `livekit.agents.inference` sends when LIVEKIT_INFERENCE_URL points here. That is chat completions
over HTTP, speech over a WebSocket (`/v1/stt`), and text to speak over another (`/v1/tts`), each with a JWT
signed by LIVEKIT_API_SECRET. A realtime model takes speech and gives speech over one WebSocket
(`/v1/realtime`).

Out: replies made by rules, transcripts by Whisper tiny.en, and a voice by flite. The service checks
descriptors such as `deepgram/nova-3` against its catalogue, but the same three engines serve all of them.
"""
