"""What differs between two descriptions of one action or event, in sentences for people.

Only what a request has to heed is compared: headers, what is required, values, privileges, the events of a
list. Wordings change with every release.
"""

from collections.abc import Sequence

from ami_integration.actions.catalogue.descriptions import ActionDescription, Argument, EventDescription


def actions_compare(old: ActionDescription, new: ActionDescription) -> list[str]:
    """What is different in `new`; empty: nothing that matters."""
    found = _arguments_compare(old.arguments, new.arguments)
    if set(old.privileges) != set(new.privileges):
        found.append(f"privileges are {new.privileges_text} instead of {old.privileges_text}")
    before = {event.name: event for event in _listed(old)}
    after = {event.name: event for event in _listed(new)}
    found += _names_compare("event of the list", list(before), list(after))
    for name in before.keys() & after.keys():
        found += [f"{name}: {each}" for each in events_compare(before[name], after[name])]
    return found


def events_compare(old: EventDescription, new: EventDescription) -> list[str]:
    """What is different in the headers of `new`."""
    return _names_compare("header", old.headers, new.headers)


def _listed(action: ActionDescription) -> list[EventDescription]:
    final = [action.final_response] if action.final_response else []
    return [*action.list_responses, *final]


def _names_compare(what: str, old: Sequence[str], new: Sequence[str]) -> list[str]:
    # Asterisk matches names in any case.
    before, after = {name.lower() for name in old}, {name.lower() for name in new}
    gone = [name for name in old if name.lower() not in after]
    come = [name for name in new if name.lower() not in before]
    found = []
    if come:
        found.append(f"new {_plural(what, come)}: {', '.join(come)}")
    if gone:
        found.append(f"{_plural(what, gone)} no more: {', '.join(gone)}")
    return found


def _plural(what: str, names: Sequence[str]) -> str:
    first, *rest = what.split(" ")
    return what if len(names) == 1 else " ".join([f"{first}s", *rest])


def _arguments_compare(old: Sequence[Argument], new: Sequence[Argument]) -> list[str]:
    found = _names_compare("header", [each.name for each in old], [each.name for each in new])
    before = {argument.name.lower(): argument for argument in old}
    for argument in new:
        was = before.get(argument.name.lower())
        if was is None:
            continue
        if argument.required != was.required:
            found.append(f"{argument.name} is {'required' if argument.required else 'optional'} now")
        found += [
            f"{argument.name}: {each}" for each in _names_compare("value", was.choices, argument.choices)
        ]
    return found
