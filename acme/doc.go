// Package acme gets certificates from an ACME server (RFC 8555) such as Let's
// Encrypt, and renews them. It answers HTTP-01 challenges (RFC 8555, 8.3) and
// TLS-ALPN-01 challenges (RFC 8737) on bindings that are open only while a
// certificate is being asked for. It never asks for one because a client came by.
package acme
