"""What recording costs, measured beside the other ways of doing it (run by ``scripts/bench.py``).

===========  ===========================================================================
results      tables of numbers and the bars they are held to, as Markdown and JSON
calibration  a fixed loop that times and rates are divided by, to be kept
compare      two runs, by those ratios
plots        pictures of a report
timing       single calls, and ways of doing one thing in turns
daemon       a daemon of our own, and what its processes weigh
kinds        what is recorded, and a simulation that makes it
ways         recd, and what a simulation can do instead of calling it
host         each way in a process of its own, told from here to go on in turns
calls        what one call costs the simulation
frames       what copying a frame costs, call by call beside a bare copy
curve        cost against size
files        whole recordings: rate, memory, bytes on disk
drain        how fast the daemon gets samples and frames into files
latency      starting, declaring, importing, closing
memory       what the processes weigh as a recording goes on
loop         a simulation that records against the same one that does not
scale        a thousand streams, many simulations at once
syscalls     system calls of a simulation that writes
safety       deaths, recovery, and the price of durability
===========  ===========================================================================

Every comparison is made within one run, in turns, as machines differ and have moods: ratios are what
counts. No number fails anything; a bar that is missed is shown as missed.
"""
