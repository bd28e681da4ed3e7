"""Mistakes that are raised while a secret is in the hands of the code, in a form, a task and a client."""

from __future__ import annotations

from typing import Any, NoReturn

from django.apps import AppConfig
from django.db import DatabaseError

#: Actions that fail in the worker: by a mistake in the client, and by one that ends the task itself.
IN_THE_CLIENT, IN_THE_TASK = "Setvar", "DBPut"


class Faults(AppConfig):
    name = "tests.secrets"
    label = "faults"

    def ready(self) -> None:
        from ami_integration.actions import execution
        from ami_integration.actions.models import ActionRun
        from ami_integration.ami import Action
        from ami_integration.servers.forms import ServerForm

        headers_in_clear = ActionRun.headers_in_clear

        def form_clean(form: Any) -> NoReturn:
            typed = dict(form.data)
            secret = str(form.data.get("secret"))
            raise RuntimeError(f"planted in a form, over {len(secret)} characters of {len(typed)} fields")

        class FaultyAction(Action):
            def encode(self) -> bytes:
                if self.name == IN_THE_CLIENT:
                    raise RuntimeError(f"planted in the client, with {self.headers}")
                return super().encode()

        def run_headers(run: Any) -> Any:
            headers = headers_in_clear(run)
            if run.action == IN_THE_TASK:
                raise DatabaseError("planted in the task")
            return headers

        ServerForm.clean = form_clean  # type: ignore[method-assign, assignment]
        execution.Action = FaultyAction  # type: ignore[attr-defined]
        ActionRun.headers_in_clear = run_headers  # type: ignore[method-assign, assignment]
