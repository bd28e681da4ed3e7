"""Who did what, when, from where. Written in the transaction of what it tells of, and never changed."""
