"""A swarm of double pendulums that start almost alike and part by chaos.

Equations of motion of two point masses on massless rods, all masses and lengths 1, in the two angles
``a``, ``b`` from the vertical (any textbook on analytical mechanics has them; with ``d = a - b``)::

    (3 - cos 2d) a'' = -3 g sin a - g sin(a - 2b) - 2 sin d (b'^2 + a'^2 cos d)
    (3 - cos 2d) b'' = 2 sin d (2 a'^2 + 2 g cos a + b'^2 cos d)

integrated with the classical fourth-order Runge-Kutta method, all pendulums in one array.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

GRAVITY: Final = 9.81  # m/s^2
REACH: Final = 2.0  # m, both rods stretched out


class Swarm:
    """``count`` double pendulums, released at rest, each a hair's breadth from its neighbour.

    Parameters
    ----------
    count : int
        Number of pendulums.
    dt : float
        Seconds per step.
    angle : float
        Angle of both rods from the vertical at the start, in radians.
    spread : float
        Difference of that angle between the first pendulum and the last, in radians.

    Attributes
    ----------
    time : float
        Seconds simulated.
    angles, rates : (2, count) float64, rad and rad/s
        Inner and outer rods, from the vertical.
    """

    def __init__(self, count: int, *, dt: float, angle: float, spread: float = 0.05) -> None:
        self.dt = dt
        self.steps = 0
        offsets = np.linspace(-spread / 2, spread / 2, count)
        #: Angle or rate, rod, pendulum.
        self._state: npt.NDArray[np.float64] = np.zeros((2, 2, count))
        self._state[0] = angle + offsets

    @property
    def time(self) -> float:
        """Seconds simulated, without the rounding of a running sum."""
        return self.steps * self.dt

    @property
    def angles(self) -> npt.NDArray[np.float64]:
        """Angles of inner and outer rods from the vertical, (2, count) rad."""
        return self._state[0, :]

    @property
    def rates(self) -> npt.NDArray[np.float64]:
        """Angular velocities of inner and outer rods, (2, count) rad/s."""
        return self._state[1, :]

    def step(self) -> None:
        """Go on by one ``dt``."""
        y, dt = self._state, self.dt
        k1 = _derivative(y)
        k2 = _derivative(y + dt / 2 * k1)
        k3 = _derivative(y + dt / 2 * k2)
        k4 = _derivative(y + dt * k3)
        self._state = y + dt / 6 * (k1 + 2 * (k2 + k3) + k4)
        self.steps += 1

    def bobs(self) -> npt.NDArray[np.float64]:
        """Where the inner and the outer bobs are: (2, count, 2) m, x to the right and y up."""
        rods = np.stack([np.sin(self.angles), -np.cos(self.angles)], axis=-1)
        return np.cumsum(rods, axis=0)

    def energy(self) -> npt.NDArray[np.float64]:
        """Kinetic and potential energy of each pendulum, (count,) J; it must not change."""
        (a, b), (va, vb) = self._state
        kinetic = va**2 + vb**2 / 2 + va * vb * np.cos(a - b)
        energy: npt.NDArray[np.float64] = kinetic - GRAVITY * (2 * np.cos(a) + np.cos(b))
        return energy


def _derivative(y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rates and accelerations of angles and rates (shaped like the state)."""
    (a, b), (va, vb) = y
    d = a - b
    sin_d, cos_d = np.sin(d), np.cos(d)
    va2, vb2 = va * va, vb * vb
    inertia = 3 - np.cos(2 * d)
    out = np.empty_like(y)
    out[0] = y[1]
    out[1, 0] = -3 * GRAVITY * np.sin(a) - GRAVITY * np.sin(a - 2 * b) - 2 * sin_d * (vb2 + va2 * cos_d)
    out[1, 1] = 2 * sin_d * (2 * va2 + 2 * GRAVITY * np.cos(a) + vb2 * cos_d)
    out[1] /= inertia
    return out
