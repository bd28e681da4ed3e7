"""The suite's real Asterisk: provisioned into a chroot, started per test run, and asked what it really
does.
"""
