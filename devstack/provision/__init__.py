"""The servers that a whole stack needs, found on this machine or built: LiveKit, Redis, PostgreSQL.

`python -m devstack.provision` builds the LiveKit server in advance, so that nothing has to wait for it later.
"""
