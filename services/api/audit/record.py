"""Write acts over the API into the audit trail, before they are answered."""

from collections.abc import Mapping

from fastapi import Request

from services.api.audit.actions import ACTIONS
from services.api.audit.trail import Via, note_act
from services.api.auth.access import Principal
from services.api.deps import services_of
from shared.platform.clock import utc_now
from shared.platform.database.errors import DATABASE_ERRORS
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)


async def audit(request: Request, status: int, headers: Mapping[str, str]) -> None:
    """Note the act of a request that was not refused. What can't be noted is logged; the act stands."""
    route = getattr(request.scope.get("route"), "path", None)
    action = ACTIONS.get(f"{request.method} {route}")
    asking: Principal | None = getattr(request.state, "principal", None)
    if action is None or asking is None or status >= 400:
        return
    target = _target(request, headers)
    try:
        await note_act(
            services_of(request).database,
            action,
            project=asking.project,
            via=_via(asking, action),
            actor=asking.key_id,
            target=target,
            at=utc_now(),
        )
    except DATABASE_ERRORS as error:
        log.warning("act_not_audited", action=action, target=target, key_id=asking.key_id, error=repr(error))


def _via(asking: Principal, action: str) -> Via:
    return Via.CONSOLE if asking.login is not None or action == "console.login" else Via.API


def _target(request: Request, headers: Mapping[str, str]) -> str | None:
    """The ids in the path, or that of what was made."""
    ids = [str(each) for each in request.path_params.values()]
    made = headers.get("location", "").rpartition("/")[2]
    return "/".join(ids) or made or None
