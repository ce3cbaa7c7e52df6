"""Python's garbage collector, in processes whose loop must not stand still."""

import gc
from typing import Final

_COLLECT_EVERY: Final = 50_000


def spare_collections() -> None:
    """Look for cycles seldom, and never among what there is already; to be called when all is loaded.

    Libraries alone make so many objects that going through them takes 150 ms, in which nobody is answered.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY)
