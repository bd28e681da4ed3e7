"""What the PBXs say of themselves: their actions and events, read from them and kept once per content.

``descriptions``  what is known of an action, an argument, an event: plain data
``pages``         the parser, from the text of ``manager show command`` to descriptions
``reading``       asks a PBX for all of its pages, over one session
``models``        catalogues, stored once per content, and which server has which
``shipped``       the catalogues that amiweb brings along, for logins that may not run ``Command``
``services``      the rules, all with keyword arguments:
                  ``catalogue_sync(server) -> Synced``, ``catalogues_sweep() -> int``,
                  ``action_describe(action, server | servers) -> ActionDescription | None``,
                  ``actions_search(user, query, servers) -> list[FoundAction]``,
                  ``events_describe(servers, names) -> dict[str, EventDescription]``
"""
