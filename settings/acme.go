package settings

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/postern-mail/postern/mail"
)

// The settings of ACME (RFC 8555) are the server's, and kept with those of the
// Console. Get-AcmeSettings and Set-AcmeSettings are their cmdlets.

// LetsEncrypt is the directory of Let's Encrypt.
const LetsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// AcmeDirectory is the ACME server.
var AcmeDirectory = text(Row{
	Name: "AcmeDirectory", Noun: "AcmeSettings", Page: ACME, Type: "URL", Services: []Service{Console},
	Help: "The address of the ACME server's directory, https only. The default is Let's Encrypt.",
}, "an https URL", func(Service, string) string { return LetsEncrypt }, func(_ Service, s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || len(s) > 2000 {
		return "", mail.Errorf(mail.KindBadArgument, "is a URL such as %s", LetsEncrypt)
	}
	return s, nil
})

// AcmeEmail is where the ACME server writes to.
var AcmeEmail = text(Row{
	Name: "AcmeEmail", Noun: "AcmeSettings", Page: ACME, Type: "address", Services: []Service{Console},
	Help: "The address to which the ACME server may write about certificates; may be empty.",
}, "an e-mail address", func(Service, string) string { return "" }, func(_ Service, s string) (string, error) {
	if s == "" {
		return "", nil
	}
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || len(local) > 64 || !hostName(strings.ToLower(domain)) || strings.ContainsFunc(local, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),:;<>[\]`, r)
	}) {
		return "", mail.Errorf(mail.KindBadArgument, "is an address such as postmaster@example.org")
	}
	return s, nil
})

// AcmeTermsAgreed tells whether an administrator agreed to the ACME server's terms.
var AcmeTermsAgreed = yesNo(Row{
	Name: "AcmeTermsAgreed", Noun: "AcmeSettings", Page: ACME, Services: []Service{Console},
	Help: "$true: you agree to the terms of service of the ACME server. Without that no certificate is asked for.",
}, false)

// AcmeHttpBindings are where HTTP-01 challenges are answered while a certificate is
// being asked for (RFC 8555, 8.3).
var AcmeHttpBindings = everywhere(Row{
	Name: "AcmeHttpBindings", Noun: "AcmeSettings", Page: ACME, Services: []Service{Console},
	Help: "The IP:port pairs on which HTTP-01 challenges are answered, open only while a certificate is being asked for. The ACME server comes to port 80; another port needs something that forwards. An empty list switches HTTP-01 off.",
}, 80)

// AcmeTlsBindings are where TLS-ALPN-01 challenges are answered (RFC 8737).
var AcmeTlsBindings = everywhere(Row{
	Name: "AcmeTlsBindings", Noun: "AcmeSettings", Page: ACME, Services: []Service{Console},
	Help: "The IP:port pairs on which TLS-ALPN-01 challenges are answered, open only while a certificate is being asked for; on an address of the Console it answers them itself. The ACME server comes to port 443. An empty list switches TLS-ALPN-01 off.",
}, 443)

// everywhere is a list of bindings whose default is a port on all addresses.
func everywhere(r Row, port uint16) Setting[[]netip.AddrPort] {
	s := bindings(r, nil)
	s.standard = func(Service, string) any {
		return []netip.AddrPort{
			netip.AddrPortFrom(netip.IPv6Unspecified(), port),
			netip.AddrPortFrom(netip.IPv4Unspecified(), port),
		}
	}
	return s
}

// acmeChallenge: without a binding no challenge can be answered.
func acmeChallenge(v *Values) error {
	if v.service == Console && len(AcmeHttpBindings.Of(v))+len(AcmeTlsBindings.Of(v)) == 0 && AcmeTermsAgreed.Of(v) {
		return AcmeTlsBindings.refuse("and AcmeHttpBindings are both empty: no challenge could be answered")
	}
	return nil
}
