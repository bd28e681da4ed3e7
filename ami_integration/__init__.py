"""amiweb's Django app, and with `ami_integration.ami` an AMI client that needs nothing but Python."""

__version__ = "0.1.0"
