"""Gymnasium wrappers: videos and episodes of environments, recorded by recd in other processes.

::

    env = gymnasium.make("Humanoid-v5", render_mode="rgb_array")
    env = RecordVideo(env, "videos", episode_trigger=lambda e: e % 10 == 0)
    env = RecordEpisode(env, "episodes")

Both take vector environments as well. Needs Gymnasium 1.1 or later.
"""

from ..errors import MissingLibraryError

try:
    from gymnasium.vector import AutoresetMode as _AutoresetMode
except ModuleNotFoundError as e:
    if (e.name or "").partition(".")[0] != "gymnasium":
        raise
    raise MissingLibraryError(
        "recd_client.gymnasium needs the package gymnasium, which is not installed here",
        "pip install 'gymnasium>=1.1'",
    ) from None
except ImportError:
    raise MissingLibraryError(
        "recd_client.gymnasium needs Gymnasium 1.1 or later: this one does not tell how its vector "
        "environments reset themselves",
        "pip install 'gymnasium>=1.1'",
    ) from None

from .episode import RecordEpisode
from .loading import Episode, load_episode
from .vector_episode import VectorRecordEpisode
from .vector_video import VectorRecordVideo
from .video import RecordVideo

__all__ = [
    "Episode",
    "RecordEpisode",
    "RecordVideo",
    "VectorRecordEpisode",
    "VectorRecordVideo",
    "load_episode",
]
del _AutoresetMode
