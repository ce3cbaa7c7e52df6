"""Every error that the API may answer with: what it means, and what to do.

docs/errors.md is made of this (`python -m services.api.catalogue > docs/errors.md`), and so are the pages
under `/problems/`, to which the `type` of an error leads.
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
        "The body can't be read: it is not in the encoding that it claims, or nested too deep.",
        "Send JSON in UTF-8.",
    ),
    "idempotency_key_malformed": Entry(
        400,
        "Bad request",
        "The Idempotency-Key header is not one string of 1 to 255 printable characters.",
        "Send one key, such as a UUID, and the same one when the request is sent again.",
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
        "Check that all of the key was copied, and that it belongs to this deployment.",
    ),
    "key_revoked": Entry(
        401,
        "Not authenticated",
        "The key was revoked.",
        "Use another key. `rollcall keys list` shows which there are.",
    ),
    "key_expired": Entry(
        401,
        "Not authenticated",
        "The key's time is over.",
        "Make a new one with `rollcall keys create`.",
    ),
    "webhook_unsigned": Entry(
        401,
        "Not authenticated",
        "A LiveKit webhook came without its signature.",
        "Only LiveKit posts here. A proxy must pass the Authorization header on.",
    ),
    "webhook_forged": Entry(
        401,
        "Not authenticated",
        "The signature of a LiveKit webhook does not cover its body, or is made with another key.",
        "Give the API and LiveKit the same key pair; a proxy must not change the body.",
    ),
    "scope_missing": Entry(
        403,
        "Not allowed",
        "The key may not do this; `missing_scope` says what it lacks.",
        "Use a key with that scope.",
    ),
    "origin_not_allowed": Entry(
        403,
        "Not allowed",
        "A publishable key was used from a web page that it was not made for, or by no browser at all.",
        "Make a key with this page's origin: `rollcall keys create --publishable --origin https://…`.",
    ),
    "not_found": Entry(
        404,
        "Not found",
        "There is no such route.",
        "See `/docs` for the routes.",
    ),
    "session_not_found": Entry(
        404,
        "Not found",
        "There is no session of this id in the key's project.",
        "Check the id, and that the key is of the project that started the session.",
    ),
    "webhook_endpoint_not_found": Entry(
        404,
        "Not found",
        "There is no webhook endpoint of this id in the key's project.",
        "List those that there are: `GET /v1/webhook-endpoints`.",
    ),
    "webhook_delivery_not_found": Entry(
        404,
        "Not found",
        "The webhook endpoint has no delivery of this event.",
        "List its deliveries; old ones are removed after a while.",
    ),
    "method_not_allowed": Entry(
        405,
        "Method not allowed",
        "The route is there, and does not take this method.",
        "The Allow header names those that it takes.",
    ),
    "room_in_use": Entry(
        409,
        "Conflict",
        "A session that has not ended has this room.",
        "End that session, name another room, or name none.",
    ),
    "session_over": Entry(
        409,
        "Conflict",
        "The session was ended while the request waited for its agent.",
        "Start another, if that was not meant.",
    ),
    "too_many_webhook_endpoints": Entry(
        409,
        "Conflict",
        "The project has as many webhook endpoints as it may have.",
        "Delete one that is not used any more, or have one endpoint take more kinds of events.",
    ),
    "webhook_endpoint_disabled": Entry(
        409,
        "Conflict",
        "The webhook endpoint is disabled, so nothing is sent to it.",
        "Enable it again once its receiver works: `PATCH` it with `enabled`.",
    ),
    "idempotency_key_in_use": Entry(
        409,
        "Conflict",
        "The first request with this Idempotency-Key is still being answered.",
        "Send the same request again after as many seconds as Retry-After says.",
    ),
    "request_too_slow": Entry(
        408,
        "Request timeout",
        "The header did not come within 10 seconds, or the body within 30 more.",
        "Send the request again. A proxy should hand a request on once it has all of it.",
    ),
    "too_large": Entry(
        413,
        "Too large",
        "The body is longer than this API takes.",
        "Send less: `detail` tells the limit, which is API_MAX_BODY_BYTES.",
    ),
    "invalid_request": Entry(
        422,
        "Invalid request",
        "A field is missing, malformed or not allowed; `errors` names each.",
        "Correct those fields. The same request will fail again.",
    ),
    "idempotency_key_reused": Entry(
        422,
        "Invalid request",
        "This Idempotency-Key came with another body before.",
        "Make a new key for each new request.",
    ),
    "webhook_target_forbidden": Entry(
        422,
        "Invalid request",
        "Webhooks may not be sent to this address: it is not public, or not https.",
        "Name a public https address; WEBHOOK_ALLOW_HTTP and WEBHOOK_ALLOW_PRIVATE are for tests.",
    ),
    "too_many_requests": Entry(
        429,
        "Too many requests",
        "The key, its project, or this network address has asked too often within a minute.",
        "Wait for as many seconds as Retry-After says, then go on more slowly.",
    ),
    "too_many_sessions": Entry(
        429,
        "Too many requests",
        "The key, or its project, has as many sessions that have not ended as it may have.",
        "End sessions that are done with, or try again when some have ended.",
    ),
    "too_many_reservations": Entry(
        429,
        "Too many requests",
        "This network address has as many reservations as it may have that no caller has used yet.",
        "Join with one of them, or wait until some have expired.",
    ),
    "too_many_followers_project": Entry(
        429,
        "Too many requests",
        "This process serves as many event streams of the project as MAX_FOLLOWERS_PROJECT lets it.",
        "Close streams that nobody reads, or try again after as many seconds as Retry-After says.",
    ),
    "too_many_reads": Entry(
        429,
        "Too many requests",
        "The project searches, lists or reads as many conversations at once as it may.",
        "Wait for as many seconds as Retry-After says, and read fewer things at once.",
    ),
    "internal_error": Entry(
        500,
        "Internal error",
        "Something went wrong on our side.",
        "Try again once. Tell the operator the `trace_id`, which is on the log's lines too.",
    ),
    "agent_did_not_join": Entry(
        503,
        "Not available",
        "The session has failed: no agent joined, or the one that did was lost. `cause`, `evidence` and "
        "`advice` say why.",
        "Do as `advice` says, then start another session.",
    ),
    "busy": Entry(
        503,
        "Not available",
        "The session changed again and again while it was to be ended.",
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
        "The database is not as this release needs it: its schema, its rights, or the login.",
        "The operator has to mend it; `/readyz` and the log say what. It goes on by itself afterwards.",
    ),
    "registry_unreachable": Entry(
        503,
        "Not available",
        "Redis can't be reached, so it is not known which workers live.",
        "Try again after as many seconds as Retry-After says. Sessions can be started all the same.",
    ),
    "too_many_connections": Entry(
        503,
        "Not available",
        "This process has as many connections as API_MAX_CONNECTIONS, or its limit of open files, lets it.",
        "Try again in a second; another replica may have room.",
    ),
    "too_many_followers": Entry(
        503,
        "Not available",
        "This process serves as many event streams as MAX_FOLLOWERS lets it.",
        "Try again after as many seconds as Retry-After says; another replica may have room.",
    ),
    "reading_busy": Entry(
        503,
        "Not available",
        "Other projects read so much that there is no room. Sessions can be started all the same.",
        "Try again after as many seconds as Retry-After says.",
    ),
    "read_too_long": Entry(
        503,
        "Not available",
        "Reading this took longer than the database is given for it.",
        "Ask for less: a shorter time, or a smaller `limit`.",
    ),
    "search_too_broad": Entry(
        503,
        "Not available",
        "So many turns match that looking at them took too long.",
        "Search for something rarer, or within a shorter time.",
    ),
}

_INTRODUCTION: Final = """\
# Errors

Every error of the API is a problem detail (RFC 9457, `application/problem+json`). The page is made from
`services/api/catalogue.py`.

| field | |
|---|---|
| `type` | a link to the description of this kind of error, relative to the API's address |
| `code` | the same kind by its name; stable, and what a program should look at |
| `title`, `status` | the kind of error for people, and its HTTP status |
| `detail` | what was wrong this time, and what to do; not for programs |
| `instance` | the path that was asked for |
| `trace_id` | the request's trace if it is traced; or its `X-Request-Id`; or the trace of its `traceparent` |
| `session_id` | where the error is about a session |
| `errors` | of `invalid_request`: each field with its problem |

Every answer, an error or not, names its `trace_id` in `X-Request-Id`; it is on every line that was logged
for the request.
"""


def as_markdown() -> str:
    """The page of all errors."""
    parts = [_INTRODUCTION]
    for code, entry in sorted(CATALOGUE.items(), key=lambda item: (item[1].status, item[0])):
        parts.append(f"\n## {code}\n\n{entry.status} {entry.title}. {entry.meaning}\n\n{entry.advice}\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
