"""`make bench`: how close to the network's own speed, how flat in memory, how it scales."""
