"""What recording costs, measured beside the other ways of doing it (run by ``scripts/bench.py``).

=========  ===========================================================================
results    tables of numbers and the bars they are held to, as Markdown and JSON
timing     single calls, and ways of doing one thing in turns
daemon     a daemon of our own, and what its processes weigh
peers      what a simulation can do instead of calling recd
calls      what one call costs the simulation
drain      how fast the daemon gets samples and frames into files
latency    starting, declaring, importing, closing
memory     what the processes weigh as a recording goes on
loop       a simulation that records against the same one that does not
=========  ===========================================================================

Every comparison is made within one run, in turns, as machines differ and have moods: ratios are what
counts. No number fails anything; a bar that is missed is shown as missed.
"""
