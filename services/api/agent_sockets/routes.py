"""The WebSockets of agent workers and their jobs; docs/agent-sockets.md describes them."""

from fastapi import APIRouter, WebSocket

from services.api.agent_sockets.caller import who_is_job, who_is_worker
from services.api.agent_sockets.socket import serve
from services.api.deps import Services
from shared.contracts.agent_calls import JOB_PATH, WORKER_PATH

router = APIRouter()


@router.websocket(WORKER_PATH)
async def worker(socket: WebSocket) -> None:
    """Serve an agent worker: its heartbeats, and the attempts whose credentials it shows."""
    await serve(socket, _services_of(socket), who=who_is_worker)


@router.websocket(JOB_PATH)
async def job(socket: WebSocket) -> None:
    """Serve the job of one attempt, by the credential in its dispatch."""
    await serve(socket, _services_of(socket), who=who_is_job)


def _services_of(socket: WebSocket) -> Services:
    services: Services = socket.app.state.services
    return services
