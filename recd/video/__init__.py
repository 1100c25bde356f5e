"""Frames in, MP4 out: everything about ffmpeg, and nothing about rings, logs or sessions.

=========  ==========================================================================
ffmpeg     finds the executable, asks what it can do, runs small jobs
codecs     what a video should be, which encoder works here, the command line for it
encoder    one running ffmpeg that is fed without ever blocking
mp4        how many frames of a growing file can be decoded, read from its boxes
files      counts, describes, joins and retimes finished pieces without re-encoding
pixels     other numbers to uint8, odd sizes to even ones
=========  ==========================================================================
"""
