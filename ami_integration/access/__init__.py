"""Who may do what. Decided here alone, for pages, WebSockets, schedules, tasks and commands."""
