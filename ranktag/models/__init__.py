"""The models, what they return, and the file that holds one."""
