"""The pages that make servers of the accounts in a manager.conf. Nothing of the file is kept."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from ami_integration.access.services import user_may_keep_servers
from ami_integration.audit.services import entry_write, request_address
from ami_integration.servers.admin import ServerAdmin
from ami_integration.servers.carried import CarriedLost, brought_back, carried
from ami_integration.servers.intake import server_form, server_saved
from ami_integration.servers.managerconf import Account, Listening, ManagerConf, Note, conf_read
from ami_integration.servers.models import Server
from ami_integration.servers.pasted import PastedOrChosen

KIND = "manager.conf"
WAY = "manager.conf"
PAGE = "admin:ami_integration_server_import_conf"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class AccountForm(forms.Form):
    """One account: whether it becomes a server, how that is called, and where it is."""

    chosen = forms.BooleanField(label="Add it", required=False)
    name = forms.CharField(required=False, label="Server’s name", max_length=100)
    host = forms.CharField(required=False, max_length=255)
    port = forms.CharField(required=False, max_length=5)
    transport = forms.ChoiceField(
        required=False,
        choices=[(kind.value, kind.label) for kind in (Server.Transport.TCP, Server.Transport.TLS)],
    )


@never_cache
@require_http_methods(["GET", "POST"])
def import_conf(request: HttpRequest) -> HttpResponse:
    """Take a text, show the accounts in it, and add those that are chosen."""
    user = request.user
    if not isinstance(user, User) or not user_may_keep_servers(user=user, what="add"):
        raise PermissionDenied
    if request.method == "POST" and "carried" in request.POST:
        return _add(request, user)
    form = PastedOrChosen(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        conf = conf_read(form.cleaned_data["text"])
        usable = _usable(conf)
        forms_ = [_form(one, at, conf.listening, alone=len(usable) == 1) for at, one in enumerate(usable)]
        sent = carried(asdict(conf), kind=KIND, user=user) if usable else ""
        return _page(request, conf=conf, rows=list(zip(usable, forms_, strict=True)), sent=sent)
    if request.method == "POST":
        # What was pasted has secrets in it, and isn't shown again.
        form.data = request.POST.copy()
        form.data["text"] = ""
    return _page(request, form=form)


def _form(account: Account, at: int, listening: Listening, *, alone: bool) -> AccountForm:
    host = listening.tls_address if listening.tls else listening.address
    return AccountForm(
        prefix=f"a{at}",
        initial={
            "chosen": alone,
            "name": "" if alone else account.name,
            "host": "" if host in _LOOPBACK else host,
            "port": listening.tls_port if listening.tls else listening.port,
            "transport": Server.Transport.TLS if listening.tls else Server.Transport.TCP,
        },
    )


def _add(request: HttpRequest, user: User) -> HttpResponse:
    try:
        data = brought_back(request.POST["carried"], kind=KIND, user=user)
    except CarriedLost as lost:
        messages.error(request, str(lost))
        return HttpResponseRedirect(reverse(PAGE))
    conf = ManagerConf(
        accounts=[Account(**one) for one in data.pop("accounts")],
        listening=Listening(**data.pop("listening")),
        **{kind: [Note(**one) for one in notes] for kind, notes in data.items()},
    )
    rows = [(one, AccountForm(request.POST, prefix=f"a{at}")) for at, one in enumerate(_usable(conf))]
    added = _added(rows, user, request_address(request))
    if added:
        names = ", ".join(server.name for server in added)
        messages.success(request, f"Added {names}. Tick them below and choose “Test connection”.")
        return HttpResponseRedirect(reverse("admin:ami_integration_server_changelist"))
    if not any(form.errors for _, form in rows):
        messages.warning(request, "Nothing was chosen. Tick “Add it” beside an account.")
    return _page(request, conf=conf, rows=rows, sent=request.POST["carried"])


def _usable(conf: ManagerConf) -> list[Account]:
    """Without a secret nobody can log in."""
    return [account for account in conf.accounts if account.secret]


def _added(rows: Sequence[tuple[Account, AccountForm]], user: User, address: str) -> list[Server]:
    """The servers of the accounts that were chosen, all or none; what is wrong stands in the forms."""
    added: list[Server] = []
    with transaction.atomic():
        for account, row in rows:
            if not row.is_valid() or not row.cleaned_data["chosen"]:
                continue
            asked = {name: row.cleaned_data[name] for name in ("name", "host", "port", "transport")}
            form = server_form(user=user, values=asked | {"username": account.name, "secret": account.secret})
            if form.is_valid():
                server = server_saved(form=form, user=user, origin="admin", address=address, way=WAY)
                added += [server] if server else []
                continue
            for name, errors in form.errors.items():
                row.add_error(name if name in row.fields else None, list(errors))
        if any(row.errors for _, row in rows):
            transaction.set_rollback(True)
            return []
        if added:
            entry_write(
                actor=user,
                origin="admin",
                address=address,
                verb="server.import",
                what={"way": WAY, "added": len(added)},
                object_type="server",
            )
    return added


def _page(
    request: HttpRequest,
    *,
    form: PastedOrChosen | None = None,
    conf: ManagerConf | None = None,
    rows: Sequence[tuple[Account, AccountForm]] = (),
    sent: str = "",
) -> HttpResponse:
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Import servers from manager.conf",
        "form": form,
        "conf": conf,
        "rows": rows,
        "carried": sent,
        "without_secret": [account for account in conf.accounts if not account.secret] if conf else [],
        "loopback": conf and conf.listening.address in _LOOPBACK and not conf.listening.tls,
    }
    return TemplateResponse(request, "ami_integration/servers/import_conf.html", context)


ServerAdmin.pages = [
    *ServerAdmin.pages,
    path(
        "import/manager-conf/", admin.site.admin_view(import_conf), name="ami_integration_server_import_conf"
    ),
]
