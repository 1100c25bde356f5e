"""Recordings into other formats: training sets, tables, films.

==============  ==========================================================================
mapping         which stream and field becomes which feature: read, checked, guessed
features        :class:`Feature`
selection       which samples of which streams (targets that keep each stream's own rate)
alignment       which samples make the rows of an episode; episodes: their data
work            units of work, resuming, progress, provenance
clips           a stretch of a film, copied wherever that is possible
targets/        one file per format
==============  ==========================================================================
"""

from .converting import Converted, convert

__all__ = ["Converted", "convert"]
