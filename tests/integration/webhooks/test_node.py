"""We accept what LiveKit's own Node library signs, and refuse what its receiver refuses."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from services.api.errors.problems import Problem
from services.api.livekit.webhook import verify_webhook
from tests.integration.livekit.test_webhooks_in import KEY, RECEIVER, SECRET, an_event

SCRIPT = Path(__file__).parents[2] / "js" / "webhook.mjs"
BODY = an_event("lobby").decode()
TAMPERED = BODY.replace("lobby", "lobbx")
ANOTHER_SECRET = "another-secret-of-thirty-two-char"

CASES: dict[str, dict[str, Any]] = {
    "as it was signed": {"signed": BODY, "sent": BODY},
    "in another alphabet": {"signed": an_event("büro").decode(), "sent": an_event("büro").decode()},
    "tampered with": {"signed": BODY, "sent": TAMPERED},
    "cut off": {"signed": BODY, "sent": BODY[:-1]},
    "of another project": {"signed": BODY, "sent": BODY, "key": "otherkey", "secret": ANOTHER_SECRET},
    "by somebody who knows our key alone": {"signed": BODY, "sent": BODY, "secret": ANOTHER_SECRET},
}
BELIEVED = {"as it was signed", "in another alphabet"}


def is_believed(body: str, authorization: str) -> bool:
    try:
        verify_webhook(body.encode(), authorization, RECEIVER)
    except Problem as problem:
        return problem.code != "webhook_forged"
    return True


async def test_our_receiver_and_livekits_agree_on_what_livekits_library_signs() -> None:
    node = await asyncio.create_subprocess_exec(
        "node", str(SCRIPT), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    asked = {"key": KEY, "secret": SECRET, "cases": list(CASES.values())}
    output, _ = await node.communicate(json.dumps(asked).encode())
    results = dict(zip(CASES, json.loads(output), strict=True))
    theirs = {name for name, result in results.items() if result["accepted"]}
    ours = {
        name for name, result in results.items() if is_believed(CASES[name]["sent"], result["authorization"])
    }
    assert ours == theirs == BELIEVED
    # The very bytes that were believed are not, once their token has run out.
    fresh = results["as it was signed"]["authorization"]
    claims = jwt.decode(fresh, SECRET, algorithms=["HS256"])
    assert claims["exp"] - time.time() <= 5 * 60, "LiveKit's own lasts as long"
    stale = jwt.encode({**claims, "exp": int(time.time()) - 120}, SECRET, algorithm="HS256")
    assert not is_believed(BODY, stale), "a replay is refused"


@pytest.mark.parametrize("lacking", ["exp", "sha256"])
async def test_a_token_that_lacks_something_signs_nothing(lacking: str) -> None:
    claims = {"iss": KEY, "exp": int(time.time()) + 60, "sha256": "x"}
    del claims[lacking]
    assert not is_believed(BODY, jwt.encode(claims, SECRET, algorithm="HS256"))
