package settings

import (
	"net/netip"
	"slices"
)

// ProxyProtocolNetworks are those from which connections begin with a PROXY header.
var ProxyProtocolNetworks = networks(Row{
	Name: "ProxyProtocolNetworks", Noun: "Settings", Page: Connection, Services: Services,
	Help: "The networks of load balancers that begin each connection with a PROXY protocol header (version 1 or 2), which names the client: its address is the one of limits, login policies and logs. A connection from there without a header is closed; from elsewhere a header is no header. Acts on new connections. Empty is off.",
	warn: func(v any) string {
		return wide(v, "ProxyProtocolNetworks contains every address: whoever connects says which client it is.")
	},
})

// ProxyProtocolTls says whether a PROXY header's word for TLS counts.
var ProxyProtocolTls = yesNo(Row{
	Name: "ProxyProtocolTls", Noun: "Settings", Page: Connection, Services: both,
	Help: "Whether a connection counts as encrypted because the PROXY header says that the client came to the load balancer with TLS. The way from there to here is then in the clear: it must be a network that nobody else reads. Channel binding and client certificates are not there on such connections.",
	warn: func(v any) string {
		if v == true {
			return "ProxyProtocolTls lets passwords come in the clear from the networks of ProxyProtocolNetworks."
		}
		return ""
	},
}, false)

// XClientNetworks are those of proxies that may say for whom they speak.
var XClientNetworks = networks(Row{
	Name: "XClientNetworks", Noun: "Settings", Page: Connection, Services: both,
	Help: "The networks of mail proxies and webmail servers that may name the client for whom they speak, before the log-in: IMAP4's ID with x-originating-ip, POP3's XCLIENT. The client's address is then the one of limits, login policies and logs. It is no exemption: without TLS the same is accepted as from everywhere. From elsewhere ID's fields count for nothing, and XCLIENT is refused. Empty is off.",
	warn: func(v any) string {
		return wide(v, "XClientNetworks contains every address: whoever connects says which client it is.")
	},
})

// ThrottleExemptNetworks are those whose sign-ins are never slowed down.
var ThrottleExemptNetworks = networks(Row{
	Name: "ThrottleExemptNetworks", Noun: "Settings", Page: Authentication, Services: both,
	Help: "The networks whose sign-ins are never slowed down after failures, such as that of a webmail server with brakes of its own. A proxy that names its clients (ProxyProtocolNetworks, XClientNetworks) does not belong here: then each client has its own count. Empty is none.",
	warn: func(v any) string {
		if len(v.([]netip.Prefix)) > 0 {
			return "ThrottleExemptNetworks lets passwords be guessed from there as fast as the server can check them."
		}
		return ""
	},
})

// wide warns of networks in which anybody can be.
func wide(v any, warning string) string {
	if slices.ContainsFunc(v.([]netip.Prefix), func(n netip.Prefix) bool { return n.Bits() == 0 }) {
		return warning
	}
	return ""
}
