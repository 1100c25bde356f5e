"""recd: the recorder's daemon. Simulations use :mod:`recd_client`."""

__version__ = "0.1.0"
