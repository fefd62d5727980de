package console

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/statistics"
)

// SignIns proves who a visitor is. Its methods obey their context and give *mail.Error.
// remote is the visitor's address.
type SignIns interface {
	// SignIn checks name and password and gives the token of a new session, or of one
	// that awaits the second factor.
	SignIn(ctx context.Context, name string, password manage.Secret, remote netip.AddrPort) (token string, err error)
	// Awaits tells whether a token awaits the second factor.
	Awaits(token string) bool
	// Confirm takes its code and gives the token of a new session.
	Confirm(ctx context.Context, token string, code manage.Secret, remote netip.AddrPort) (string, error)
	// SessionCaller gives whose session it is, with the roles of now.
	SessionCaller(ctx context.Context, token string) (manage.Caller, error)
	// WatchSession is SessionCaller that does not keep the session alive.
	WatchSession(ctx context.Context, token string) (manage.Caller, error)
	// SignOut ends a session.
	SignOut(ctx context.Context, token string)
}

// Administrators proves who an administrator is: a manage.Server.
type Administrators interface {
	SignIns
	// RedeemLink gives the token of a new session for a one-time link.
	RedeemLink(ctx context.Context, secret string, remote netip.AddrPort) (token string, err error)
}

// Statistics are numbers over time: a statistics.History.
type Statistics interface {
	Series(m statistics.Metric, s settings.Service, from, to time.Time, step time.Duration) []statistics.Point
}

// Parts are what a console is made of. Manage, SignIns, Accounts and Log are needed.
type Parts struct {
	Manage  *manage.Server
	SignIns Administrators
	// Accounts proves who comes to the pages of the own account.
	Accounts SignIns
	Log      *slog.Logger
	// Statistics may be nil: then there are no plots.
	Statistics Statistics
	// Certificate gives the certificate that a service with this
	// X509CertificateName shows, or nil. It may be nil itself.
	Certificate func(hostName string) *x509.Certificate
	Now         func() time.Time // nil: time.Now
}

// Console serves the pages. Its methods may be called from any goroutine.
type Console struct {
	Parts
	admin     *area
	own       *area
	catalogue *Catalogue
	templates map[string]*template.Template // by the name of the file
	icons     map[string]template.HTML
	static    map[string]asset // by name
	outcomes  outcomes
}

//go:embed pages static icons
var files embed.FS

// asset is an embedded file that a browser may keep for ever under its version.
type asset struct {
	version, kind string
	content       []byte
}

// New makes the console's handler. The embedded files are read when the first request
// comes: a console that nobody visits takes no memory. It panics then, as it does
// in every test, when one of them is wrong.
func New(parts Parts) http.Handler {
	open := sync.OnceValue(func() http.Handler {
		handler, err := open(parts)
		if err != nil {
			panic(err)
		}
		return handler
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { open().ServeHTTP(w, r) })
}

// open reads the embedded files.
func open(parts Parts) (http.Handler, error) {
	if parts.Now == nil {
		parts.Now = time.Now
	}
	c := &Console{Parts: parts, templates: map[string]*template.Template{}, icons: map[string]template.HTML{}, static: map[string]asset{}}
	c.admin = &area{console: c, cookie: sessionCookie, home: "/", signIns: parts.SignIns, pages: Pages()}
	c.own = &area{console: c, base: accountPath, cookie: accountCookie, home: accountPath, signIns: parts.Accounts, pages: AccountPages()}
	var err error
	if c.catalogue, err = OpenCatalogue(); err != nil {
		return nil, err
	}
	if err := c.readFiles(); err != nil {
		return nil, err
	}
	return c.guard(c.routes()), nil
}

// common are the templates that every page has.
var common = []string{"pages/layout.html", "pages/parts.html", "pages/lists.html"}

func (c *Console) readFiles() error {
	base, err := template.New("").Funcs(template.FuncMap{"asset": c.asset, "icon": c.icon}).ParseFS(files, common...)
	if err != nil {
		return err
	}
	pages, err := fs.Glob(files, "pages/*.html")
	if err != nil {
		return err
	}
	for _, name := range pages {
		t, err := base.Clone()
		if err == nil {
			t, err = t.ParseFS(files, name)
		}
		if err != nil {
			return err
		}
		c.templates[strings.TrimSuffix(path.Base(name), ".html")] = t
	}
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	for _, folder := range []string{"static", "icons"} {
		entries, err := files.ReadDir(folder)
		if err != nil {
			return err
		}
		for _, e := range entries {
			text, err := files.ReadFile(folder + "/" + e.Name())
			if err != nil {
				return err
			}
			if folder == "icons" {
				c.icons[strings.TrimSuffix(e.Name(), ".svg")] = template.HTML(text) // our own, embedded
				continue
			}
			sum := sha256.Sum256(text)
			c.static[e.Name()] = asset{hex.EncodeToString(sum[:6]), kinds[path.Ext(e.Name())], text}
		}
	}
	return nil
}

// asset gives the address of an embedded file.
func (c *Console) asset(name string) string {
	return "/static/" + name + "?v=" + c.static[name].version
}

func (c *Console) icon(name string) template.HTML { return c.icons[name] }

func (c *Console) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /static/{name}", c.serveStatic)
	mux.HandleFunc("GET /sign-in/link", c.linkPage)
	mux.HandleFunc("POST /sign-in/link", c.redeemLink)
	mux.HandleFunc("POST /preferences", c.preferences)
	for _, a := range []*area{c.admin, c.own} {
		mux.HandleFunc("GET "+a.base+"/sign-in", a.signInPage)
		mux.HandleFunc("POST "+a.base+"/sign-in", a.signIn)
		mux.HandleFunc("GET "+a.base+"/sign-in/code", a.codePage)
		mux.HandleFunc("POST "+a.base+"/sign-in/code", a.confirm)
		mux.HandleFunc("POST "+a.base+"/sign-out", a.signOut)
		for _, p := range a.pages {
			if p.Path == "/" {
				mux.HandleFunc("GET /{$}", a.visit(p))
				mux.HandleFunc("POST /{$}", a.visit(p))
				continue
			}
			for _, method := range []string{"GET ", "POST "} {
				mux.HandleFunc(method+p.Path, a.visit(p))
				mux.HandleFunc(method+p.Path+"/{rest...}", a.visit(p))
			}
		}
	}
	mux.HandleFunc("/", c.admin.visit(&Page{Path: "/", Show: func(*Visit) error {
		return noPage()
	}}))
	return mux
}

func (c *Console) serveStatic(w http.ResponseWriter, r *http.Request) {
	a, ok := c.static[r.PathValue("name")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.kind)
	if r.URL.Query().Get("v") == a.version {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	w.Write(a.content)
}

const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// guard stands before every answer: its headers, the origin of posts and the size
// of their bodies. That the Host field names this server is seen to before.
func (c *Console) guard(next http.Handler) http.Handler {
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.refuse(w, r, mail.Errorf(mail.KindNoPermission, "Another site has sent this form. Nothing was changed."))
	}))
	inner := origin.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler:
				panic(p)
			default:
				event.Panicked.Log(r.Context(), c.Log, "service", settings.Console, "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				panic(http.ErrAbortHandler) // the connection ends
			}
		}()
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		// Not no-referrer: browsers without Sec-Fetch-Site would send a null Origin.
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		// localhost is other servers', too, and browsers do not tell ports apart here.
		if host, _, _ := strings.Cut(r.Host, ":"); host != "localhost" {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cache-Control", "no-store")
		h.Set("Vary", "Cookie, Accept-Language")
		// One that cannot be set is a test's.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(2 * runTimeout))
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		inner.ServeHTTP(w, r)
	})
}
