"""What ``benchmarks.live`` measures: viewers of all kinds beside a simulation that records.

=======  ==================================================================
viewers  pages without a browser, ``recd tail``, ``recd top``, as processes
load     200 streams and 4 cameras, with viewers and without
taps     one stream in a tight loop, with 0, 1 and 5 taps
serving  processor time of whoever serves
page     a real browser: from ``write`` to a pixel
peers    a live view inside the simulation, recd's and others'
=======  ==================================================================
"""
