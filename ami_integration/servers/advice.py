"""What mends a connection that failed: for whoever administers Asterisk, in the words of its manager.conf.

The connection doctor shows it below what was seen. Each reason that the AMI client gives has its own words.
"""

import socket

from ami_integration.ami import (
    TLS,
    AMIError,
    ConnectError,
    ConnectRefused,
    ConnectTimeout,
    LoginFailed,
    NameNotResolved,
    NoBanner,
    NotAMI,
    SSHFailed,
    Timeouts,
    TLSFailed,
    fetch_certificate,
)
from ami_integration.ami.errors import LoginReason, SSHReason, TLSReason
from ami_integration.secrets.encryption import SecretUnreadable
from ami_integration.servers.models import Server

_TLS: dict[TLSReason, str] = {
    "unknown_ca": "Compare its SHA-256 with “openssl x509 -noout -fingerprint -sha256 -in FILE” on the PBX, "
    "for the file of tlscertfile= in manager.conf, and trust it if they are the same. Or paste the "
    "certificate of the authority that signed it into “CA certificate”.",
    "name": "Give the host by a name that is in the certificate, or make a certificate for {host} and "
    "name it in the tlscertfile= line of manager.conf.",
    "expired": "Renew the certificate in the file that tlscertfile= in manager.conf names; “manager reload”.",
    "pin": "Did somebody renew the PBX's certificate? Then compare that SHA-256 with “openssl x509 "
    "-noout -fingerprint -sha256 -in FILE” on the PBX, for the file of tlscertfile= in manager.conf, "
    "and pin the new one. If nobody did, or they differ, another machine answers in its place: nothing "
    "was sent to it.",
    "version": "TLS 1.0 and 1.1 are broken and not spoken here. Let the PBX offer TLS 1.2 or newer: an "
    "Asterisk with a current OpenSSL does, unless its openssl.cnf (MinProtocol, MaxProtocol) or "
    "tlscipher= under [general] in manager.conf forbids it.",
    "clear_text": "Choose TCP as the transport, or the port of tlsbindaddr= under [general] in "
    "manager.conf (tlsenable = yes, usually port 5039).",
    "other": "Check that the port is that of tlsbindaddr= under [general] in manager.conf, with "
    "tlsenable = yes, and that the file of tlscertfile= holds the certificate and its key.",
}

_SSH: dict[SSHReason, str] = {
    "host_key": "Compare the key that came with the SSH server's own, and give it as the host key. "
    "Unless they are the same, another machine answers in its place: nothing was sent to it.",
    "auth": "Check the account's name and its key or password. The public key belongs into "
    "~/.ssh/authorized_keys of that account; AllowUsers and PasswordAuthentication in sshd_config may "
    "shut it out. The log of sshd says which.",
    "key": "Give the whole text of a private key, from -----BEGIN to END-----, without a passphrase: "
    "“ssh-keygen -p -f FILE” removes one, “ssh-keygen -t ed25519” makes a new key.",
    "forbidden": "In the SSH server's sshd_config let this account forward: AllowTcpForwarding yes (or "
    "local), and PermitOpen, where there is one, with AMI's host and port. Then reload sshd.",
    "extra": "Install it where amiweb runs, and restart amiweb.",
    "other": "Check that the SSH host and port are those of an SSH server, and look into the log of its "
    "sshd.",
}

_LOGIN: dict[LoginReason, str] = {
    "refused": "Asterisk says the same for a wrong username, a wrong secret and an address that is shut "
    "out. In manager.conf check that the section {section} exists, its secret= line, and that its deny= "
    "and permit= lines (or acl=) let {here}in. Then run “manager reload” in Asterisk's CLI, whose log "
    "says which of these it was.",
    "in_use": "Another session uses {section}. Set allowmultiplelogin = yes under [general] in "
    "manager.conf, or give this server a second account for actions if amiweb's own listener is that "
    "session, or end it: “manager show connected”, then “manager kick session <id>” in Asterisk's CLI.",
    "no_challenge": "Choose TLS as the transport (tlsenable = yes under [general] in manager.conf), or "
    "find out what stands before the AMI port and refuses the action Challenge: Asterisk itself answers "
    "it.",
    "filter": "In manager.conf, add system to the write= line of {section}, which Filter needs. Then "
    "run “manager reload” in Asterisk's CLI.",
}


def advice(
    error: AMIError | SecretUnreadable,
    server: Server,
    *,
    username: str,
    peer: str,
    timeout: float,
    entrance: bool = False,
) -> str:
    """What the administrator of a PBX can do about `error`, as sentences.

    Args:
        username: of the account that met it.
        peer: the address that the connection reached; "" if none.
        timeout: seconds, for a look whether the port speaks TLS.
        entrance: whether it was met on the way to the first machine, which may be an SSH server.
    """
    clear = server.transport == Server.Transport.TCP
    if server.transport == Server.Transport.SSH and (found := _through_ssh(error, server, entrance)):
        return found
    if isinstance(error, NameNotResolved):
        return (
            "Check the spelling of the host, or give its IP address. This machine's name server must know it."
        )
    if isinstance(error, ConnectTimeout) and error.phase == "resolve":
        return "This machine's name server does not answer. Mend that, or give the PBX's IP address."
    if isinstance(error, ConnectRefused):
        return (
            f"In manager.conf under [general] check {_listening_lines(server)}; with 127.0.0.1 as its bind "
            "address, Asterisk lets in only programs on the PBX itself. Then run “manager reload” and "
            "“manager show settings” in Asterisk's CLI. A firewall may refuse too."
        )
    if isinstance(error, TLSFailed):
        return _TLS[error.reason].format(host=server.host)
    if isinstance(error, SSHFailed):
        return _SSH[error.reason]
    if isinstance(error, ConnectTimeout) and error.phase == "tls":
        return (
            "The port is open, but no TLS is spoken there. Check the port against tlsbindaddr under "
            "[general] in manager.conf, or choose TCP as the transport."
        )
    if isinstance(error, ConnectTimeout) and error.phase == "ssh":
        return (
            "The SSH server's port is open, but no SSH login was done there in time. Check the SSH port; if "
            "it is right, look at that machine's load, and whether its sshd waits for a name server (UseDNS "
            "no)."
        )
    if isinstance(error, ConnectTimeout):
        return (
            "Check the host. If it is right, the machine is off, or a firewall on the way drops the packets: "
            f"allow {_own_address(server)}to reach TCP port {server.port}."
        )
    if isinstance(error, NoBanner) and clear and peer and _speaks_tls(peer, server.port, timeout):
        return (
            "The port speaks TLS. Choose TLS as the transport, or the port= of [general] in manager.conf, "
            "which speaks clear text."
        )
    if isinstance(error, (NotAMI, NoBanner)):
        return (
            "AMI greets first and at once, so this seems to be another service: check the port against "
            f"{_listening_lines(server)} under [general] in manager.conf (8088 is Asterisk's web server, "
            "5060 SIP). If the port is right, the PBX may have too many sessions that never logged in: "
            "see authlimit= there and “manager show connected” in Asterisk's CLI."
        )
    if isinstance(error, SecretUnreadable):
        return "Nothing was sent to the PBX. Edit the server and enter the secret= of manager.conf anew."
    if isinstance(error, LoginFailed):
        here = _own_address(server) if error.reason == "refused" else ""
        if server.transport == Server.Transport.SSH:
            here = "the SSH server (127.0.0.1 where it is the PBX itself) "
        return _LOGIN[error.reason].format(section=f"[{username}]", here=here or "this machine ")
    if isinstance(error, ConnectError):
        return "Check host, port and transport."
    return (
        "The PBX stopped answering during the login. Try again; if it stays so, look at its load and its log."
    )


def _through_ssh(error: AMIError | SecretUnreadable, server: Server, entrance: bool) -> str:
    """What is different where an SSH server stands between; "" if nothing is."""
    if isinstance(error, ConnectRefused) and entrance:
        return (
            "Check the SSH server's name and its port (Port in sshd_config), and that sshd runs there. A "
            "firewall may refuse too."
        )
    if isinstance(error, ConnectTimeout) and entrance and error.phase == "connect":
        return (
            "Check the SSH server's name. If it is right, the machine is off, or a firewall on the way drops "
            f"the packets: allow {_own_address(server)}to reach TCP port {server.ssh_port}."
        )
    if isinstance(error, ConnectTimeout) and error.phase == "connect":
        return (
            f"The SSH server answers, but from there nobody answers at {server.host}: check the host as that "
            "machine sees it (127.0.0.1 where it is the PBX itself), and the firewall between them."
        )
    return ""


def _listening_lines(server: Server) -> str:
    if server.transport == Server.Transport.TLS:
        return "the lines tlsenable= (yes) and tlsbindaddr="
    return "the lines enabled= (yes), port= and bindaddr="


def _own_address(server: Server) -> str:
    """This machine's address towards the server, as a word for a sentence; "" if unknown. Sends nothing."""
    try:
        host, port = server.ami_way.entrance
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)  # for UDP this only chooses a route
            return f"{probe.getsockname()[0]} (this machine) "
    except OSError:
        return ""


def _speaks_tls(host: str, port: int, timeout: float) -> bool:
    """Whether a TLS handshake succeeds there, whatever the certificate. Nothing is sent through it."""
    limits = Timeouts(connect=timeout, tls=timeout)
    try:
        fetch_certificate(TLS(host, port), limits)  # no trust follows from it
    except ConnectError:
        return False
    return True
