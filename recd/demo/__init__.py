"""``recd demo``: a swarm of double pendulums, recorded to every format at once."""
