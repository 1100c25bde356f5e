"""How a vector environment begins episodes anew, which decides where one ends and the next begins."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import logger
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray


def autoreset_mode_of(env: Any) -> AutoresetMode:
    """The mode that the environment states; next-step, with a warning, if it states none."""
    mode = env.metadata.get("autoreset_mode")
    if mode is None:
        logger.warn(
            f"{env} metadata doesn't specify its autoreset mode ({env.metadata!r}), "
            f"therefore, defaulting to next step."
        )
        return AutoresetMode.NEXT_STEP
    return AutoresetMode(mode)


def reset_mask_of(options: dict[str, Any] | None, num_envs: int) -> NDArray[np.bool_]:
    """Which sub-environments a ``reset`` with these options resets, ``(num_envs,)``.

    To be asked before the reset: environments take the mask out of the options.
    """
    if options is None or "reset_mask" not in options:
        return np.ones(num_envs, np.bool_)
    return np.array(options["reset_mask"], np.bool_)
