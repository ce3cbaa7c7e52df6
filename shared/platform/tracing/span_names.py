"""The names of spans and their attributes.

Names with `rollcall.` are ours. The others come from OpenTelemetry's semantic conventions 1.44; a test checks
that they still have these names. They are spelled out here, so that a process without tracing imports
nothing. livekit-agents names the agent's spans inside a job (`job_entrypoint`, `agent_session`, …).
"""

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"

# Spans. A request is named after its method and route, a call to LiveKit as in `LiveKit CreateRoom`, a task
# after its function.
SESSION: Final = "session"
REPLACE: Final = "replace_agent"
CANARY: Final = "canary"
TURN: Final = "turn"
STORE_TURN: Final = "store_turn"
INSERT_TURN: Final = "INSERT transcript_item"

# Events on spans.
POLL: Final = "poll"

# Attributes of ours.
SESSION_ID: Final = "rollcall.session.id"
ROOM: Final = "rollcall.room.name"
AGENT_NAME: Final = "rollcall.agent.name"
ATTEMPT: Final = "rollcall.attempt"
REVIVALS: Final = "rollcall.revivals"
DISPATCH_ID: Final = "rollcall.dispatch.id"
STATUS: Final = "rollcall.session.status"
END_REASON: Final = "rollcall.session.end_reason"
OUTCOME: Final = "rollcall.outcome"
CAUSE: Final = "rollcall.cause"
JOIN_SECONDS: Final = "rollcall.join.seconds"
POLL_HINTED: Final = "rollcall.poll.hinted"
POLL_AGENT: Final = "rollcall.poll.agent"
POLL_PARTICIPANTS: Final = "rollcall.poll.participants"
TURN_SEQ: Final = "rollcall.turn.seq"
TURN_ROLE: Final = "rollcall.turn.role"
TURN_KIND: Final = "rollcall.turn.kind"
TURN_INTERRUPTED: Final = "rollcall.turn.interrupted"
TURN_TEXT: Final = "rollcall.turn.text"  # content
BATCH_TURNS: Final = "rollcall.batch.turns"

# Attributes of the semantic conventions.
ERROR_TYPE: Final = "error.type"
HTTP_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
HTTP_STATUS: Final = "http.response.status_code"
REQUEST_ID: Final = "http.request.header.x-request-id"
URL_PATH: Final = "url.path"
URL_SCHEME: Final = "url.scheme"
SERVER_ADDRESS: Final = "server.address"
RPC_METHOD: Final = "rpc.method"
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_DESTINATION: Final = "messaging.destination.name"
MESSAGING_OPERATION: Final = "messaging.operation.type"
DB_SYSTEM: Final = "db.system.name"
DB_COLLECTION: Final = "db.collection.name"
DB_OPERATION: Final = "db.operation.name"
