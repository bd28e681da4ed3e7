"""Running actions on PBXs: the action log, the doorbell, the worker's side, and the pages."""
