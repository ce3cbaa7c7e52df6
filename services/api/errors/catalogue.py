"""The catalogue of the API's errors: what each means, and what to do.

`python -m services.api.errors.catalogue > docs/errors.md` writes docs/errors.md from it. It also makes the
pages under `/problems/`, to which the `type` of an error leads.
"""

import sys
from dataclasses import dataclass
from typing import Final

TYPE_PREFIX: Final = "/problems/"


@dataclass(frozen=True)
class Entry:
    """One kind of error."""

    status: int
    title: str
    meaning: str
    advice: str


CATALOGUE: Final[dict[str, Entry]] = {
    "bad_request": Entry(
        400,
        "Bad request",
        "The body can't be read: it is not in the encoding that its header names, or is nested too deep.",
        "Send JSON in UTF-8.",
    ),
    "idempotency_key_malformed": Entry(
        400,
        "Bad request",
        "The Idempotency-Key header is not one string of 1 to 255 printable characters.",
        "Send one key, such as a UUID. To send the request again, use the same key.",
    ),
    "https_needed": Entry(
        400,
        "Bad request",
        "A browser on another machine wants to log in to the console by plain http.",
        "Open the console by https. On the machine itself, `http://localhost` works too.",
    ),
    "key_missing": Entry(
        401,
        "Not authenticated",
        "The request has no API key.",
        "Send `Authorization: Bearer` and a key. `rollcall keys create` makes one.",
    ),
    "key_unknown": Entry(
        401,
        "Not authenticated",
        "The Authorization header holds no key of this deployment.",
        "Check that you copied the whole key, and that it belongs to this deployment.",
    ),
    "credential_invalid": Entry(
        401,
        "Not authenticated",
        "An agent worker's or job's credential is forged, too old, or of another LiveKit key pair.",
        "Give the worker the LIVEKIT_API_KEY and LIVEKIT_API_SECRET that the API has, or a key with the scope"
        " `agent`, and set the clocks of both hosts.",
    ),
    "key_revoked": Entry(
        401,
        "Not authenticated",
        "The key was revoked.",
        "Use another key. `rollcall keys list` shows all keys.",
    ),
    "key_expired": Entry(
        401,
        "Not authenticated",
        "The key has expired.",
        "Make a new one with `rollcall keys create`.",
    ),
    "webhook_unsigned": Entry(
        401,
        "Not authenticated",
        "A LiveKit webhook had no signature.",
        "Only LiveKit may post here. If there is a proxy, it must pass the Authorization header on.",
    ),
    "webhook_forged": Entry(
        401,
        "Not authenticated",
        "The signature of a LiveKit webhook does not match its body, or was made with another key.",
        "Give the API and LiveKit the same key pair. If there is a proxy, it must not change the body.",
    ),
    "scope_missing": Entry(
        403,
        "Not allowed",
        "The key may not do this. `missing_scope` names the scope that it lacks.",
        "Use a key with that scope.",
    ),
    "login_over": Entry(
        401,
        "Not authenticated",
        "The browser's login has ended: it logged out, sent nothing for 12 hours, or is 7 days old.",
        "Log in with an API key again.",
    ),
    "not_from_console": Entry(
        403,
        "Not allowed",
        "A request with the console's cookie wants to change something, and does not come from the console.",
        "Programs send `Authorization: Bearer` and an API key instead of the cookie.",
    ),
    "login_not_needed": Entry(
        409,
        "Conflict",
        "A browser wants to log in that needs no login: the API asks nobody for a key, or knows the browser.",
        "Use the console as it is. To log in with another key, log out first.",
    ),
    "origin_not_allowed": Entry(
        403,
        "Not allowed",
        "The publishable key was not made for this web page, or the request does not come from a browser.",
        "Make a key with this page's origin: `rollcall keys create --publishable --origin https://…`.",
    ),
    "not_found": Entry(
        404,
        "Not found",
        "There is no such route.",
        "See `/docs` for the routes.",
    ),
    "profile_not_found": Entry(
        404,
        "Not found",
        "No profile is stored for this agent name, or not in this version.",
        "Store one with `PUT /v1/agents/{name}`. Profiles in a worker's file are not shown here.",
    ),
    "profile_changed": Entry(
        412,
        "Precondition failed",
        "The newest version of the profile is not the one that `If-Match` or `If-None-Match` names.",
        "Read the profile again, make your change in it, and send its `ETag` as `If-Match`.",
    ),
    "session_not_found": Entry(
        404,
        "Not found",
        "The key's project has no session with this id.",
        "Check the id, and that the key belongs to the project that started the session.",
    ),
    "key_not_found": Entry(
        404,
        "Not found",
        "The key's project has no API key with this id.",
        "List the keys: `GET /v1/keys`.",
    ),
    "webhook_endpoint_not_found": Entry(
        404,
        "Not found",
        "The key's project has no webhook endpoint with this id.",
        "List the endpoints: `GET /v1/webhook-endpoints`.",
    ),
    "webhook_delivery_not_found": Entry(
        404,
        "Not found",
        "The webhook endpoint has no delivery of this event.",
        "List its deliveries. Rollcall removes old ones after a while.",
    ),
    "dead_letter_not_found": Entry(
        404,
        "Not found",
        "There is no dead letter with this id, or it is of another project.",
        "`GET /v1/dead-letters` lists them. Dead letters are deleted after `DEAD_LETTER_RETENTION_DAYS`.",
    ),
    "method_not_allowed": Entry(
        405,
        "Method not allowed",
        "The route exists, but does not allow this method.",
        "The Allow header lists the methods that it allows.",
    ),
    "dead_letter_empty": Entry(
        409,
        "Conflict",
        "The dead letter can't be put back: it has no content, or is from a stream that takes nothing back.",
        "Its reason says what was wrong. Nothing more can be done than to delete it.",
    ),
    "room_in_use": Entry(
        409,
        "Conflict",
        "Another session is using this room, and has not ended.",
        "End that session, name another room, or name no room.",
    ),
    "session_not_active": Entry(
        409,
        "Conflict",
        "Nobody can listen in to this session: it has no agent yet, or it is over.",
        "If it has not begun, wait for `agent.joined.v1` or `agent.ready.v1`. Once it is over, read its "
        "transcript.",
    ),
    "session_over": Entry(
        409,
        "Conflict",
        "Somebody ended the session while the request waited for its agent.",
        "If you did not mean to end it, start another session.",
    ),
    "too_many_keys": Entry(
        409,
        "Conflict",
        "The project has as many API keys as it may have, and none of them is revoked or expired.",
        "Revoke a key that you no longer use: `DELETE /v1/keys/{id}`.",
    ),
    "too_many_webhook_endpoints": Entry(
        409,
        "Conflict",
        "The project has as many webhook endpoints as it may have.",
        "Delete an endpoint that you no longer use, or let one endpoint receive more types of events.",
    ),
    "webhook_endpoint_disabled": Entry(
        409,
        "Conflict",
        "The webhook endpoint is disabled, so Rollcall sends nothing to it.",
        "Enable it again once its receiver works: `PATCH` it with `enabled`.",
    ),
    "idempotency_key_in_use": Entry(
        409,
        "Conflict",
        "Rollcall has not answered the first request with this Idempotency-Key yet.",
        "Wait as many seconds as Retry-After says, then send the same request again.",
    ),
    "request_too_slow": Entry(
        408,
        "Request timeout",
        "The header did not arrive within 10 seconds, or the body within another 30.",
        "Send the request again. A proxy should pass a request on only when it has the whole request.",
    ),
    "too_large": Entry(
        413,
        "Too large",
        "The body is larger than this API allows.",
        "Send less. `detail` names the limit, which is API_MAX_BODY_BYTES.",
    ),
    "invalid_request": Entry(
        422,
        "Invalid request",
        "A field is missing, malformed or not allowed. `errors` names each such field.",
        "Correct these fields. The same request would fail again.",
    ),
    "idempotency_key_reused": Entry(
        422,
        "Invalid request",
        "An earlier request with this Idempotency-Key had another body.",
        "Use a new key for each new request.",
    ),
    "webhook_target_forbidden": Entry(
        422,
        "Invalid request",
        "Rollcall may not send webhooks to this address: it is not public, or not https.",
        "Use a public https address. WEBHOOK_ALLOW_HTTP and WEBHOOK_ALLOW_PRIVATE are for tests.",
    ),
    "too_many_requests": Entry(
        429,
        "Too many requests",
        "The key, its project, or this network address sent too many requests within a minute.",
        "Wait as many seconds as Retry-After says, then send requests more slowly.",
    ),
    "too_many_sessions": Entry(
        429,
        "Too many requests",
        "The key, or its project, has reached its limit of sessions that have not ended.",
        "End sessions that you no longer need, or try again when some have ended.",
    ),
    "too_many_reservations": Entry(
        429,
        "Too many requests",
        "This network address has reached its limit of reservations that no caller has used yet.",
        "Join with one of their tokens, or wait until some have expired.",
    ),
    "too_many_followers_project": Entry(
        429,
        "Too many requests",
        "The project has reached the limit of event streams in this process (MAX_FOLLOWERS_PROJECT).",
        "Close streams that nobody reads, or try again after the time in Retry-After.",
    ),
    "too_many_reads": Entry(
        429,
        "Too many requests",
        "The project runs as many searches, lists and reads at once as it may.",
        "Wait as many seconds as Retry-After says, and run fewer of them at once.",
    ),
    "internal_error": Entry(
        500,
        "Internal error",
        "Rollcall failed to handle the request.",
        "Try again once. If it fails again, give the operator the `trace_id`, which is also in the log.",
    ),
    "agent_did_not_join": Entry(
        503,
        "Not available",
        "The session has failed: no agent joined, or its agent was lost. `cause`, `evidence` and "
        "`advice` say why.",
        "Follow `advice`, then start another session.",
    ),
    "busy": Entry(
        503,
        "Not available",
        "The session kept changing while Rollcall tried to end it.",
        "Try again.",
    ),
    "database_unavailable": Entry(
        503,
        "Not available",
        "The database can't be reached, or is busy; `detail` says which.",
        "Try again after as many seconds as Retry-After says.",
    ),
    "database_unfit": Entry(
        503,
        "Not available",
        "The database's schema, rights or login are not what this release needs.",
        "The operator has to fix it; `/readyz` and the log say what. Rollcall then continues by itself.",
    ),
    "worker_not_found": Entry(
        404,
        "Not found",
        "No agent worker of this id lives. LiveKit gives a worker a new id each time it connects.",
        "`GET /v1/workers` and `rollcall workers` list the workers with their ids.",
    ),
    "worker_drains": Entry(
        409,
        "Conflict",
        "The worker drains: it ends when its calls have ended. A drain can't be taken back.",
        "Start another worker. Next time, `cordon` a worker that you may need again.",
    ),
    "redis_unavailable": Entry(
        503,
        "Not available",
        "Redis does not answer, and what was asked for is stored there.",
        "Try again after the time in Retry-After. Look at Redis if it does not come back.",
    ),
    "registry_unreachable": Entry(
        503,
        "Not available",
        "Redis can't be reached, so Rollcall does not know which workers run.",
        "Wait as many seconds as Retry-After says, then try again. You can still start sessions.",
    ),
    "too_many_connections": Entry(
        503,
        "Not available",
        "This process has reached its limit of connections: API_MAX_CONNECTIONS, or its limit of open files.",
        "Try again in a second. Another replica may accept the connection.",
    ),
    "too_many_followers": Entry(
        503,
        "Not available",
        "This process has reached its limit of event streams (MAX_FOLLOWERS).",
        "Wait as many seconds as Retry-After says, then try again. Another replica may accept the stream.",
    ),
    "reading_busy": Entry(
        503,
        "Not available",
        "Other projects use all connections for reading. You can still start sessions.",
        "Try again after as many seconds as Retry-After says.",
    ),
    "read_too_long": Entry(
        503,
        "Not available",
        "The database took longer than its time limit to read this.",
        "Ask for less: a shorter period, or a smaller `limit`.",
    ),
    "search_too_broad": Entry(
        503,
        "Not available",
        "So many turns match that the search took too long.",
        "Search for rarer words, or within a shorter period.",
    ),
}

_INTRODUCTION: Final = """\
# Errors

Every error of the API is a problem detail (RFC 9457, `application/problem+json`). This page is made from
`services/api/errors/catalogue.py`.

| field | |
|---|---|
| `type` | a link to the description of this kind of error, relative to the API's address |
| `code` | the name of this kind of error. It is stable; programs should use it |
| `title`, `status` | a title for people, and the HTTP status |
| `detail` | what is wrong with this request, and what to do. It is for people, not for programs |
| `instance` | the path of the request |
| `trace_id` | the request's trace if it is traced; else its `X-Request-Id`, or its `traceparent`'s trace |
| `session_id` | the session, if the error is about one |
| `errors` | for `invalid_request`: each field with its problem |

Every answer, error or not, has its `trace_id` in `X-Request-Id`. Every log line of the request has it too.
"""


def as_markdown() -> str:
    """Return the page of all errors."""
    parts = [_INTRODUCTION]
    for code, entry in sorted(CATALOGUE.items(), key=lambda item: (item[1].status, item[0])):
        parts.append(f"\n## {code}\n\n{entry.status} {entry.title}. {entry.meaning}\n\n{entry.advice}\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
