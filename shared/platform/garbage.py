"""Python's garbage collector, in processes whose event loop must not be blocked."""

import gc
from typing import Final

_COLLECT_EVERY: Final = 50_000


def spare_collections() -> None:
    """Collect seldom, and exclude all existing objects; call it when everything is loaded.

    The libraries alone have so many objects that one collection takes 150 ms, which blocks every request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY)
