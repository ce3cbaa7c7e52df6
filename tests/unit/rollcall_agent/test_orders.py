"""What a worker does as operators order."""

from rollcall_agent.worker.orders import Orders
from shared.contracts.workers import WorkerOrder

CORDON, UNCORDON, DRAIN = WorkerOrder.CORDON, WorkerOrder.UNCORDON, WorkerOrder.DRAIN


def obeyed(*orders: WorkerOrder) -> tuple[bool, int]:
    """Whether the worker is cordoned after these orders, and how often it was told to drain."""
    drains: list[None] = []
    worker = Orders(drain=lambda: drains.append(None))
    for order in orders:
        worker.obey(order)
    return worker.cordoned, len(drains)


def test_a_worker_is_cordoned_until_it_is_uncordoned() -> None:
    assert obeyed() == (False, 0)
    assert obeyed(CORDON, CORDON) == (True, 0)
    assert obeyed(CORDON, UNCORDON, UNCORDON) == (False, 0)


def test_a_drain_comes_once_and_is_final() -> None:
    assert obeyed(DRAIN, DRAIN) == (True, 1)
    assert obeyed(CORDON, DRAIN, UNCORDON) == (True, 1)
