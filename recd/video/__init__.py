"""Frames in, MP4 out: everything about ffmpeg, and nothing about rings, logs or sessions.

=========  ===============================================================================
settings   what a video should be
catalog    the encoders that recd knows, and how each is driven
ffmpeg     finds the executable, asks what it can do, runs small jobs
command    ffmpeg's arguments for a video
codecs     which encoder works here, found out by trying it
encoder    one running ffmpeg that is fed without ever blocking
counting   how many frames of a growing file can be decoded, read from its structure
files      counts, describes, joins and retimes finished pieces without encoding again
pixels     other numbers to uint8, odd sizes to even ones
=========  ===============================================================================
"""
