"""The servers that a whole stack needs, found on this machine or made: LiveKit, Redis, PostgreSQL.

`python -m devstack.provision` gets ready what takes long, so that nothing later has to wait for it.
"""
