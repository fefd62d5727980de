package manage

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
)

// APIPrefix is where the management API stands on HTTPS.
const APIPrefix = "/api"

// API serves the management API over HTTPS, below APIPrefix: the same requests as
// on the socket, each with an API token (Authorization: Bearer). Cookies mean
// nothing to it, so that no page in a browser can act in somebody's name, and a
// request that a page of another origin sent is refused all the same.
func (s *Server) API() http.Handler {
	return s.apiHeaders(s.identified(s.tokenRequest, s.routes(APIPrefix)))
}

// apiHeaders refuses requests from other origins and bounds the answer's time.
func (s *Server) apiHeaders(next http.Handler) http.Handler {
	origin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		asked := *r
		asked.Method = http.MethodPost // reading is no safer here than writing
		if err := origin.Check(&asked); err != nil {
			refuse(w, mail.Errorf(mail.KindNoPermission, "the management API answers no page of another origin"))
			return
		}
		// One that cannot be set is a test's.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(runTimeout + readTimeout))
		next.ServeHTTP(w, r)
	})
}

// tokenRequest gives the caller of a request with an API token.
func (s *Server) tokenRequest(r *http.Request) (Caller, error) {
	given := r.Header.Values("Authorization")
	scheme, token, _ := strings.Cut(strings.Join(given, ","), " ")
	if len(given) != 1 || !strings.EqualFold(scheme, "Bearer") {
		return Caller{}, hinted(mail.Errorf(mail.KindAuthenticationFailed, "the management API needs an API token: Authorization: Bearer TOKEN"), "New-ApiToken makes one.")
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return Caller{}, mail.Wrap(mail.KindServerBug, err)
	}
	return s.TokenCaller(r.Context(), strings.TrimLeft(token, " "), remote)
}

type callerKey struct{}

// Guard lets only requests through that come with an API token whose holder has
// the role.
func (s *Server) Guard(role Role, next http.Handler) http.Handler {
	return s.apiHeaders(s.identified(s.tokenRequest, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if caller := callerIn(r.Context()); !holds(caller.Roles, role) {
			refuse(w, mail.Errorf(mail.KindNoPermission, "%s needs the role %s, which %s does not hold", r.URL.Path, role, caller.Name))
			return
		}
		next.ServeHTTP(w, r)
	})))
}

// identified puts the caller into the context of each request.
func (s *Server) identified(identify func(*http.Request) (Caller, error), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := identify(r)
		if err != nil {
			refuse(w, err)
			return
		}
		again := func(context.Context) (Caller, error) { return identify(r) }
		ctx := context.WithValue(context.WithValue(r.Context(), callerKey{}, caller), identifyKey{}, again)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// callerIn gives the caller of a request that came through identified.
func callerIn(ctx context.Context) Caller {
	c, ok := ctx.Value(callerKey{}).(Caller)
	if !ok {
		return unknownCaller("unknown", "the caller is not known")
	}
	return c
}

// KnownHosts lets only requests through that name this server in their Host
// field: by its name, a name of one of its certificates, localhost, or an address.
// Otherwise a page whose name leads here (DNS rebinding) would be of the console's
// origin.
func (s *Server) KnownHosts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.knownHost(r.Host) {
			w.Header().Set("X-Content-Type-Options", "nosniff")
			http.Error(w, "This server does not have that name: use one that its certificate has, or an address.", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) knownHost(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if name == "localhost" || strings.EqualFold(name, s.Settings.Server()) {
		return true
	}
	_, parent, _ := strings.Cut(name, ".")
	for _, known := range s.Certificates.Names() {
		wild, isWild := strings.CutPrefix(known, "*.")
		if strings.EqualFold(name, known) || isWild && parent != "" && strings.EqualFold(parent, wild) {
			return true
		}
	}
	return false
}
