"""
The office's phones as PJSIP endpoints: what PJSIPShowEndpoint and ``pjsip show`` tell of them.

The settings are those of an endpoint that a real Asterisk 22 told of (tests/captures/22), in its order.
"""

from ami_integration.simulator.company import Phone
from ami_integration.simulator.office import Office
from ami_integration.simulator.wire import Header

_SETTINGS = """\
RpidImmediate: false
Webrtc: no
Ignore183WithoutSdp: false
SendAoc: false
DeviceStateBusyAt: 0
T38UdptlMaxdatagram: 0
CodecPrefsIncomingAnswer: prefer:pending, operation:intersect, keep:all, transcode:allow
SecurityNegotiation: no
DtlsRekey: 0
RtpPortEnd: 0
NamedPickupGroup:
DirectMediaMethod: invite
SendRpid: false
PickupGroup:
SdpSession: Asterisk
DtlsVerify: No
MessageContext:
Tenantid:
Mailboxes:
RecordOnFeature: automixmon
DtlsPrivateKey:
DtlsFingerprint: SHA-256
OverlapContext:
OutgoingCallOfferPref: remote_merge
RtpPortStart: 0
FromDomain:
TimersSessExpires: 1800
NamedCallGroup:
DtlsCipher:
MediaEncryptionOptimistic: false
SuppressQ850ReasonHeaders: false
Aors: {number}
IdentifyBy: username,ip
CalleridPrivacy: allowed_not_screened
MwiSubscribeReplacesUnsolicited: no
CosAudio: 0
FollowEarlyMediaFork: true
Context: office
RtpSymmetric: false
Transport:
MohSuggest: default
T38Udptl: false
FaxDetect: false
T38BindUdptlToMediaAddress: false
TosVideo: 0
SrtpTag32: false
ReferBlindProgress: true
MaxAudioStreams: 1
Bundle: false
UseAvpf: false
CallGroup:
SendConnectedLine: yes
FaxDetectTimeout: 0
SdpOwner: -
ForceRport: true
CalleridTag:
RtpTimeoutHold: 0
SuppressMohOnSendonly: false
UsePtime: false
MediaAddress:
VoicemailExtension:
RtpTimeout: 0
StirShaken: no
SetVar:
ContactAcl:
PreferredCodecOnly: false
GeolocOutgoingCallProfile:
ForceAvp: false
RecordOffFeature: automixmon
FromUser:
SendDiversion: true
SendHistoryInfo: false
T38UdptlIpv6: false
ToneZone:
Language:
AllowSubscribe: true
RtpIpv6: false
Callerid: "{name}" <{number}>
MohPassthrough: false
CosVideo: 0
DtlsAutoGenerateCert: No
AsymmetricRtpCodec: false
GeolocIncomingCallProfile:
IceSupport: false
AggregateMwi: true
OneTouchRecording: false
MwiFromUser:
RedirectMethod: user
Accountcode:
CodecPrefsOutgoingAnswer: prefer:pending, operation:intersect, keep:all, transcode:allow
Allow: (ulaw)
RewriteContact: false
UserEqPhone: false
RtpEngine: asterisk
FollowRedirectMethods:
SubscribeContext:
NotifyEarlyInuseRinging: false
IncomingMwiMailbox:
IncomingCallOfferPref: local
AllowUnauthenticatedOptions: false
Auth:
DirectMediaGlareMitigation: none
TrustIdInbound: false
StirShakenProfile:
BindRtpToMediaAddress: false
DisableDirectMediaOnNat: false
MediaEncryption: no
MediaUseReceivedTransport: false
AllowOverlap: true
DtmfMode: rfc4733
OutboundAuth:
TosAudio: 0
DtlsCertFile:
DtlsCaPath:
DtlsSetup: active
ConnectedLineMethod: invite
G726NonStandard: false
100rel: yes
Timers: yes
DirectMedia: false
Acl:
TimersMinSe: 90
TrustIdOutbound: false
SubMinExpiry: 0
RtcpMux: false
MaxVideoStreams: 1
AcceptMultipleSdpAnswers: false
CodecPrefsIncomingOffer: prefer:pending, operation:intersect, keep:all, transcode:allow
CodecPrefsOutgoingOffer: prefer:pending, operation:union, keep:all, transcode:allow
TrustConnectedLine: yes
SendPai: false
RtpKeepalive: 0
T38UdptlEc: none
T38UdptlNat: false
AllowTransfer: true
DtlsCaFile:
OutboundProxy:
InbandProgress: false
"""
_AOR = """\
MinimumExpiration: 60
DefaultExpiration: 3600
QualifyTimeout: 3.000000
Qualify2xxOnly: false
Mailboxes:
SupportPath: false
RemoveUnavailable: false
VoicemailExtension:
MaxContacts: 1
AuthenticateQualify: false
Contacts: {contact}
MaximumExpiration: 7200
QualifyFrequency: 0
RemoveExisting: false
OutboundProxy:
TotalContacts: 1
ContactsRegistered: 0
"""
SETTINGS = tuple(line.partition(":")[0] for line in _SETTINGS.splitlines())
"""The names of an endpoint's settings."""

_STATES = {
    "NOT_INUSE": "Not in use",
    "INUSE": "In use",
    "BUSY": "Busy",
    "INVALID": "Invalid",
    "UNAVAILABLE": "Unavailable",
    "RINGING": "Ringing",
    "RINGINUSE": "Ring+Inuse",
    "ONHOLD": "On Hold",
}


def state_text(state: str) -> str:
    """A device's state in words, as the CLI and some lists have it."""
    return _STATES.get(state, "Unknown")


def contact_of(office: Office, phone: Phone) -> str:
    """Where the phone is reached."""
    return f"{phone.number}/sip:{phone.number}@{office.settings.sip_domain}:5060"


def settings_of(office: Office, phone: Phone) -> list[Header]:
    """The headers of EndpointDetail."""
    return [("ObjectType", "endpoint"), ("ObjectName", phone.number), *_filled(_SETTINGS, office, phone)]


def aor_of(office: Office, phone: Phone) -> list[Header]:
    """The headers of AorDetail."""
    about = [("ObjectType", "aor"), ("ObjectName", phone.number)]
    return [*about, *_filled(_AOR, office, phone), ("EndpointName", phone.number)]


def contact_status_of(office: Office, phone: Phone) -> list[Header]:
    """The headers of ContactStatusDetail."""
    return [
        ("AOR", phone.number),
        ("URI", contact_of(office, phone).partition("/")[2]),
        ("UserAgent", ""),
        ("RegExpire", "0"),
        ("Status", "NonQualified"),
        ("RoundtripUsec", "N/A"),
        ("EndpointName", phone.number),
        ("ID", f"{phone.number}@@{int(phone.number):032x}"),
        ("AuthenticateQualify", "0"),
        ("OutboundProxy", ""),
        ("Path", ""),
        ("QualifyFrequency", "0"),
        ("QualifyTimeout", "3.000"),
        ("Qualify2xxOnly", "0"),
    ]


def use_of(office: Office, phone: Phone) -> list[Header]:
    """What the phone does: DeviceState and ActiveChannels."""
    count = len(office.switch.channels_of(phone.device))
    state = state_text(office.switch.device_state(phone.device))
    return [("DeviceState", state), ("ActiveChannels", str(count))]


def _filled(lines: str, office: Office, phone: Phone) -> list[Header]:
    values = {"number": phone.number, "name": phone.name, "contact": contact_of(office, phone)}
    found = []
    for line in lines.splitlines():
        name, _, value = line.partition(":")
        found.append((name, value.strip().format_map(values) if "{" in value else value.strip()))
    return found
