"""Which requests are acts, and what each is called in the audit trail.

A route that changes something is in one of the two lists; a test compares them with the routes.
"""

from typing import Final

ACTIONS: Final = {
    "DELETE /v1/sessions/{session_id}": "session.end",
    "POST /v1/sessions/{session_id}/listeners": "session.listen_in",
    "DELETE /v1/sessions/{session_id}/transcript": "transcript.erase",
    "POST /v1/erasures": "participant.erase",
    "POST /v1/webhook-endpoints": "webhook.create",
    "PATCH /v1/webhook-endpoints/{endpoint_id}": "webhook.change",
    "DELETE /v1/webhook-endpoints/{endpoint_id}": "webhook.delete",
    "POST /v1/webhook-endpoints/{endpoint_id}/secret": "webhook.rotate_secret",
    "POST /v1/webhook-endpoints/{endpoint_id}/test": "webhook.test",
    "POST /v1/webhook-endpoints/{endpoint_id}/replay": "webhook.replay",
    "POST /v1/webhook-endpoints/{endpoint_id}/deliveries/{event_id}/replay": "delivery.replay",
    "POST /v1/workers/{worker_id}/cordon": "worker.cordon",
    "POST /v1/workers/{worker_id}/uncordon": "worker.uncordon",
    "POST /v1/workers/{worker_id}/drain": "worker.drain",
    "PUT /v1/agents/{agent_name}": "profile.change",
    "PUT /v1/agents/{agent_name}/traffic": "traffic.share",
    "POST /v1/keys": "key.create",
    "DELETE /v1/keys/{key_id}": "key.revoke",
    "POST /v1/dead-letter-replays": "dead_letters.replay",
    "POST /v1/dead-letters/{letter_id}/replay": "dead_letter.replay",
    "DELETE /v1/dead-letters/{letter_id}": "dead_letter.delete",
    "POST /v1/login": "console.login",
    "POST /v1/logout": "console.logout",
}
# Programs start sessions all the time, and each session tells its key.
UNAUDITED: Final = frozenset(
    {
        "POST /v1/sessions",
        "POST /v1/token",
        "POST /api/v2/sandbox/connection-details",
        "POST /v1/livekit/webhook",
    }
)
