"""What is being recorded, live: rates from the daemon's counters, disks, troubles; on a terminal or as data."""
