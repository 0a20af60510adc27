"""Files that survive kills, full disks and other processes."""
