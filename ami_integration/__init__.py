"""amiweb's Django app, and with `ami_integration.ami` an AMI client that needs nothing but Python."""
