"""Conditions over what is being recorded: looked at through taps, told, and put on the timeline as marks."""
