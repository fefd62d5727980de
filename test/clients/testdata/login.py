"""What the scripts here share: how to connect and how to log in.

A script is called with one JSON object: port, ca (certificate file), user,
password, connection (clear, starttls, tls), form (how to log in) and what it
needs itself. It ends with 0 when all is well, and with 10 and a line
"REFUSED <what the server said>" when the server refuses the login.
"""
import base64
import hashlib
import hmac
import json
import secrets
import ssl
import sys

HOST = "localhost"
TIMEOUT = 30
REFUSED = 10


def arguments():
    return json.loads(sys.argv[1])


def context(args):
    """TLS that verifies the server's certificate and name."""
    return ssl.create_default_context(cafile=args["ca"])


def refused(text):
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    print("REFUSED", text)
    sys.exit(REFUSED)


def check(condition, *what):
    if not condition:
        print("FAILED", *what)
        sys.exit(1)


def plain(args):
    return ("\0" + args["user"] + "\0" + args["password"]).encode()


class Scram:
    """A SCRAM client (RFC 5802) without channel binding: called with each
    challenge as bytes, gives each answer as bytes."""

    def __init__(self, name, user, password):
        self.hash = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}[name]
        self.user, self.password = user, password.encode()
        self.nonce = secrets.token_urlsafe(18)
        self.step = 0
        self.verified = False

    def digest(self, key, message):
        return hmac.new(key, message, self.hash).digest()

    def __call__(self, challenge):
        self.step += 1
        if self.step == 1:
            self.first = f"n={self.user.replace('=', '=3D').replace(',', '=2C')},r={self.nonce}"
            return ("n,," + self.first).encode()
        if self.step == 2:
            text = challenge.decode()
            fields = dict(f.split("=", 1) for f in text.split(","))
            check(fields["r"].startswith(self.nonce), "the server's nonce:", text)
            salted = hashlib.pbkdf2_hmac(self.hash, self.password, base64.b64decode(fields["s"]), int(fields["i"]))
            key = self.digest(salted, b"Client Key")
            bare = "c=biws,r=" + fields["r"]
            message = ",".join([self.first, text, bare]).encode()
            signature = self.digest(hashlib.new(self.hash, key).digest(), message)
            self.want = self.digest(self.digest(salted, b"Server Key"), message)
            proof = bytes(a ^ b for a, b in zip(key, signature))
            return (bare + ",p=" + base64.b64encode(proof).decode()).encode()
        check(challenge == b"v=" + base64.b64encode(self.want), "the server's signature:", challenge)
        self.verified = True
        return b""
