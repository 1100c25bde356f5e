"""Recordings into other formats: training sets, tables, films.

==============  ==========================================================================
mapping         which stream and field becomes which feature: the file; guess: a first one
resolving       what a recording then tells of each feature
features        :class:`Feature`
choosing        which recordings, streams and episodes are meant
selection       which samples of which streams (targets that keep each stream's own rate)
alignment       which samples make the rows of an episode; episodes: their data; dataset: all of them
windows         reading in rising order, once
converting      one conversion; outputs: its units; work: resuming, completing
clips           a stretch of a film, copied wherever that is possible
targets/        one file per format
==============  ==========================================================================
"""

from .converting import Converted, convert

__all__ = ["Converted", "convert"]
