"""Files that survive kills, full disks and other processes."""

from ranktag.files.platform import refuse_other_platforms

# Before any module here asks the system for what it may lack.
refuse_other_platforms()
