"""Signs in with a Kerberos ticket, by MIT's GSS-API, once for each line that it reads,
and writes a line with the server's last answer.

PROTOCOL PORT TLS MECHANISM BINDING [AUTHZID]

PROTOCOL is imap or pop, TLS is clear, 1.2 or 1.3, BINDING is none, wrong,
tls-server-end-point or tls-unique. BINDING replay sends the first message of a first
connection again on a second one; stay waits for the server's last line.
"""
import base64
import hashlib
import socket
import ssl
import struct
import sys

import gssapi
from gssapi.raw import ChannelBindings

KRB5 = gssapi.OID.from_int_seq("1.2.840.113554.1.2.2")
SPNEGO = gssapi.OID.from_int_seq("1.3.6.1.5.5.2")


class Line:
    """One connection."""

    def __init__(self):
        self.s = socket.create_connection(("127.0.0.1", int(port)), 20)
        if version != "clear":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.minimum_version = context.maximum_version = {
                "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
            self.s = context.wrap_socket(self.s, server_hostname="localhost")
        self.f = self.s.makefile("rb")
        self.f.readline()

    def value(self, kind):
        if kind == "tls-unique":
            return self.s.get_channel_binding("tls-unique")
        return hashlib.sha256(self.s.getpeercert(True)).digest()

    def send(self, text):
        self.s.sendall(text.encode() + b"\r\n")

    def begin(self, first):
        verb = {"imap": "a AUTHENTICATE ", "pop": "AUTH "}[protocol]
        self.send(verb + mechanism + " " + base64.b64encode(first).decode())
        return self.answer()

    def answer(self):
        """The next challenge, or None and the status."""
        line = self.f.readline().decode().rstrip("\r\n")
        if line.startswith("+ ") or line == "+":
            return base64.b64decode(line[2:]), line
        return None, line

    def say(self, message):
        self.send(base64.b64encode(message).decode())
        return self.answer()


def bindings(line, header=b""):
    if mechanism.startswith("GS2"):
        data = header
        if mechanism.endswith("PLUS"):
            data += line.value(binding) if binding != "wrong" else b"wrong"
        return ChannelBindings(application_data=data)
    if binding in ("none", "replay", "stay"):
        return None
    kind = "tls-server-end-point" if binding == "wrong" else binding
    value = b"wrong" if binding == "wrong" else line.value(kind)
    return ChannelBindings(application_data=kind.encode() + b":" + value)


def attempt(line):
    header = b""
    if mechanism.startswith("GS2"):
        flag = "n"
        if mechanism.endswith("PLUS"):
            flag = "p=" + ("tls-server-end-point" if binding == "wrong" else binding)
        header = (flag + "," + ("a=" + authzid if authzid else "") + ",").encode()
    name = gssapi.Name(protocol + "@localhost", gssapi.NameType.hostbased_service)
    context = gssapi.SecurityContext(
        name=name, mech=SPNEGO if mechanism == "GSS-SPNEGO" else KRB5, usage="initiate",
        channel_bindings=bindings(line, header), flags=gssapi.RequirementFlag.mutual_authentication)
    token = context.step()
    if mechanism.startswith("GS2"):
        # The header of RFC 2743, 3.1 goes: tag, length, mechanism.
        size = 2 if token[1] < 0x80 else 2 + (token[1] & 0x7f)
        token = token[size + 11:]
    first = header + token
    return first, context


def sign_in():
    line = Line()
    first, context = attempt(line)
    challenge, status = line.begin(first)
    if binding == "replay":
        line = Line()
        challenge, status = line.begin(first)
    elif challenge is not None:
        token = context.step(challenge)
        assert not token and context.complete, (token, context.complete)
        challenge, status = line.say(b"")
        if mechanism == "GSSAPI" and challenge is not None:
            offer = context.unwrap(challenge).message
            assert offer == b"\x01\x00\x00\x00", offer
            challenge, status = line.say(context.wrap(b"\x01\x00\x00\x00" + authzid.encode(), False).message)
    if binding == "stay":
        status = line.f.readlines()[-1].decode().rstrip()
    return status


for case in sys.stdin:
    protocol, port, version, mechanism, binding, authzid = (case.split() + [""])[:6]
    print(sign_in(), flush=True)
