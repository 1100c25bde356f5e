"""Genesis' recorders, out of process: importing this makes Genesis know recd's options.

Native::

    import recd_client.genesis
    scene.add_recorder(box.get_pos, recd_client.CSVFile("pos.csv"))       # 0.4.5: scene.start_recording

Drop-in, for code that stays as it is::

    import recd_client.genesis
    recd_client.genesis.install()

Only this package imports Genesis, and only its modules ``recording``, ``recorder`` and ``cameras`` do
something with it; what an option of Genesis' means here is in ``mapping``.
"""

from .setup import configure, install, installed, register, uninstall

__all__ = ["configure", "install", "installed", "uninstall"]

register()
