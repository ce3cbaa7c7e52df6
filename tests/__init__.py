"""The tests.

Importing what they test makes millions of objects that stay until the end. The garbage collector would look
through them again and again, which took half of the time that a run needs to begin: it starts with the first
test (conftest.py).
"""

import gc

gc.disable()
