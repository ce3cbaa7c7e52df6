"""HTTP servers of ours: sockets, connections and probes."""
