"""Check LiveKit: whether it answers and accepts our key, and whether its clock agrees with ours."""

import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import httpx
from livekit import api
from pydantic import ValidationError

from cli.doctor.findings import Finding, failed, passed, skipped, warned
from cli.doctor.surroundings import Surroundings
from shared.contracts.causes import ADVICE, Cause
from shared.contracts.settings import LiveKitSettings

NAME: Final = "livekit"
CLOCK: Final = "clock"
TIMEOUT_S: Final = 7.0
# LiveKit accepts tokens whose time is up to a minute off.
SKEW_WARNED_S: Final = 10
SKEW_REFUSED_S: Final = 60
_NO_SUCH_ROOM: Final = "rollcall-doctor"


async def check_livekit(surroundings: Surroundings) -> Sequence[Finding]:
    """Ask for a room that does not exist: this proves address, key and secret, and changes nothing."""
    try:
        settings = surroundings.settings(LiveKitSettings)
    except ValidationError:
        missing = "LIVEKIT_URL, LIVEKIT_API_KEY or LIVEKIT_API_SECRET is missing or malformed"
        return [failed(NAME, missing, "set all three; .env.example explains them"), skipped(CLOCK, missing)]
    base = http_url(settings.livekit_url)
    # The token uses LiveKit's own time, so that a wrong clock does not look like a wrong secret.
    began = time.time()
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as http:
        try:
            answer = await http.post(
                f"{base}/twirp/livekit.RoomService/ListRooms",
                json={"names": [_NO_SUCH_ROOM]},
                headers={"Authorization": f"Bearer {_token(settings)}"},
            )
        except httpx.HTTPError as error:
            why = f"{base} does not answer: {error or type(error).__name__}"
            return [failed(NAME, why, ADVICE[Cause.LIVEKIT_UNREACHABLE]), skipped(CLOCK, why)]
    skew = _skew_s(answer.headers.get("Date"), (began + time.time()) / 2)
    return [_verdict(base, answer, settings, skew), judge_clock(skew)]


def http_url(livekit_url: str) -> str:
    """Return the address of the HTTP API."""
    return "http" + livekit_url.removeprefix("http").removeprefix("ws")


def _token(settings: LiveKitSettings) -> str:
    token = api.AccessToken(settings.livekit_api_key, settings.livekit_api_secret.get_secret_value())
    return str(token.with_grants(api.VideoGrants(room_list=True)).to_jwt())


def _verdict(base: str, answer: httpx.Response, settings: LiveKitSettings, skew: float | None) -> Finding:
    kind = answer.headers.get("Content-Type", "nothing").partition(";")[0]
    if answer.status_code == httpx.codes.OK and _lists_rooms(answer):
        return passed(NAME, f"{base} accepts the key {settings.livekit_api_key}")
    login = kind == "text/html" or "WWW-Authenticate" in answer.headers
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN) and not login:
        return _refusal(base, answer.text, settings, skew)
    if answer.is_server_error:
        return failed(NAME, f"{base} answers {answer.status_code}", ADVICE[Cause.LIVEKIT_UNREACHABLE])
    return failed(NAME, f"{base} is not LiveKit's API: {_said(answer, kind)}", _right_url(base))


def _lists_rooms(answer: httpx.Response) -> bool:
    try:
        said = answer.json()
    except ValueError:
        return False
    return isinstance(said, dict) and "rooms" in said


def _said(answer: httpx.Response, kind: str) -> str:
    if answer.has_redirect_location:
        return f"it redirects to {answer.headers['Location'].partition('?')[0]}"
    return f"it answers {answer.status_code} with {kind}"


def _right_url(base: str) -> str:
    path = urlsplit(base).path
    return (
        f"remove the path {path} from LIVEKIT_URL"
        if path
        else "is LIVEKIT_URL the address of a LiveKit server?"
    )


def _refusal(base: str, said: str, settings: LiveKitSettings, skew: float | None) -> Finding:
    # The text repeats the token, so only its meaning is shown.
    if "invalid API key" in said:
        return failed(
            NAME,
            f"{base} does not know the key {settings.livekit_api_key}",
            "take LIVEKIT_API_KEY and LIVEKIT_API_SECRET from the same project as LIVEKIT_URL",
        )
    off = skew is not None and abs(skew) > SKEW_REFUSED_S
    if off or "expired" in said or "not valid yet" in said or "issued in the future" in said:
        return failed(NAME, f"{base} refuses the token's time", "set this host's clock: see the check clock")
    return failed(
        NAME,
        f"{base} knows the key {settings.livekit_api_key}, and refuses the secret",
        "correct LIVEKIT_API_SECRET: it does not belong to this key",
    )


def _skew_s(date: str | None, ours: float) -> float | None:
    try:
        return None if date is None else ours - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def judge_clock(skew: float | None) -> Finding:
    """Judge whether LiveKit accepts this host's tokens; `skew`: how many seconds it is ahead of LiveKit."""
    if skew is None:
        return skipped(CLOCK, "LiveKit does not tell its time")
    side = "ahead of" if skew > 0 else "behind"
    evidence = f"this host is {abs(skew):.0f} s {side} LiveKit"
    fix = "synchronise the clocks (chrony, systemd-timesyncd)"
    if abs(skew) > SKEW_REFUSED_S:
        return failed(CLOCK, f"{evidence}: tokens are refused", fix)
    if abs(skew) > SKEW_WARNED_S:
        return warned(CLOCK, f"{evidence}; from {SKEW_REFUSED_S} s on tokens are refused", fix)
    return passed(CLOCK, "within a few seconds of LiveKit's")
