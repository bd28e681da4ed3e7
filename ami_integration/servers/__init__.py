"""A PBX: its address, its credentials, its health, and the doctor that says why it can't be reached."""
