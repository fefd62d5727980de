package console

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
)

// The cookies. The prefix makes browsers insist on Secure, on this host and on the
// whole of it.
const (
	sessionCookie  = "__Host-session"
	languageCookie = "__Host-language"
	schemeCookie   = "__Host-scheme"
)

func cookie(r *http.Request, name string) string {
	if c, err := r.Cookie(name); err == nil {
		return c.Value
	}
	return ""
}

// keep sets a cookie; maxAge in seconds, 0 until the browser ends, below 0 to take
// it away.
func keep(w http.ResponseWriter, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: maxAge, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
}

// caller gives whose session the request is of, or sends to the sign-in.
func (c *Console) caller(w http.ResponseWriter, r *http.Request, v *Visit) (manage.Caller, bool) {
	token := cookie(r, sessionCookie)
	why := ""
	if token != "" {
		ask := c.SignIns.SessionCaller
		if part := r.Header.Get(partHeader); part == partRefresh || part == partFollow {
			ask = c.SignIns.WatchSession
		}
		caller, err := ask(r.Context(), token)
		if err == nil {
			return caller, true
		}
		if kind := mail.KindOf(err); kind == mail.KindUnavailable || kind == mail.KindServerBug {
			v.fail(w, err)
			return manage.Caller{}, false
		}
		keep(w, sessionCookie, "", -1)
		why = "ended"
	}
	if fragment(r) {
		w.WriteHeader(http.StatusUnauthorized)
		return manage.Caller{}, false
	}
	query := url.Values{}
	if r.Method == http.MethodGet && r.URL.Path != "/" {
		query.Set("next", r.URL.RequestURI())
	}
	if why != "" {
		query.Set("why", why)
	}
	to := "/sign-in"
	if len(query) > 0 {
		to += "?" + query.Encode()
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return manage.Caller{}, false
}

// signInData is what the sign-in page shows.
type signInData struct {
	Name, Next, Token string
	Problem, Remedy   string // in the visitor's language
	Note              string
}

func (c *Console) signInPage(w http.ResponseWriter, r *http.Request) {
	v := c.begin(r)
	data := &signInData{Next: local(r.URL.Query().Get("next"))}
	switch r.URL.Query().Get("why") {
	case "ended":
		data.Note = v.T("Your session has ended. Sign in again to go on; nothing was changed meanwhile.")
	case "out":
		data.Note = v.T("You are signed out.")
	}
	v.Title, v.Data = v.T("Sign in"), data
	v.render(w, "sign-in")
}

func (c *Console) signIn(w http.ResponseWriter, r *http.Request) {
	v := c.begin(r)
	v.Title = v.T("Sign in")
	form, err := fields(r)
	if err == nil {
		err = only(form, "name", "password", "next")
	}
	if err != nil {
		v.fail(w, err)
		return
	}
	name := strings.TrimSpace(form.Get("name"))
	token, err := c.SignIns.SignIn(r.Context(), name, manage.Secret(form.Get("password")), remote(r))
	if err != nil {
		v.Data = &signInData{Name: name, Next: local(form.Get("next")), Problem: sentence(v.Error(err)), Remedy: v.Text(manage.FaultOf(err).Hint)}
		v.status = mail.KindOf(err).Answer().HTTP
		v.render(w, "sign-in")
		return
	}
	c.signedIn(w, r, token, local(form.Get("next")))
}

// signedIn begins a session: the cookie is a new one at each sign-in.
func (c *Console) signedIn(w http.ResponseWriter, r *http.Request, token, next string) {
	if old := cookie(r, sessionCookie); old != "" {
		c.SignIns.SignOut(r.Context(), old)
	}
	keep(w, sessionCookie, token, 0)
	http.Redirect(w, r, next, http.StatusSeeOther)
}

// linkPage asks before a one-time link is used, so that whatever looks at links in
// advance does not use it up.
func (c *Console) linkPage(w http.ResponseWriter, r *http.Request) {
	v := c.begin(r)
	v.Title, v.Data = v.T("Sign in"), &signInData{Token: r.URL.Query().Get("token")}
	v.render(w, "link")
}

func (c *Console) redeemLink(w http.ResponseWriter, r *http.Request) {
	v := c.begin(r)
	form, err := fields(r)
	if err == nil {
		err = only(form, "token")
	}
	if err != nil {
		v.fail(w, err)
		return
	}
	token, err := c.SignIns.RedeemLink(r.Context(), form.Get("token"), remote(r))
	if err != nil {
		v.Title, v.Data = v.T("Sign in"), &signInData{Problem: sentence(v.Error(err)), Remedy: v.Text(manage.FaultOf(err).Hint)}
		v.status = mail.KindOf(err).Answer().HTTP
		v.render(w, "sign-in")
		return
	}
	c.signedIn(w, r, token, "/")
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request) {
	if token := cookie(r, sessionCookie); token != "" {
		c.SignIns.SignOut(r.Context(), token)
	}
	keep(w, sessionCookie, "", -1)
	w.Header().Set("Clear-Site-Data", `"cache", "storage"`)
	http.Redirect(w, r, "/sign-in?why=out", http.StatusSeeOther)
}

// year is how long a choice of language or colours is kept, in seconds.
const year = 365 * 24 * 60 * 60

// preferences keeps a choice of language or colour scheme.
func (c *Console) preferences(w http.ResponseWriter, r *http.Request) {
	form, err := fields(r)
	if err == nil {
		err = only(form, "language", "scheme", "back")
	}
	if err != nil {
		c.refuse(w, r, err)
		return
	}
	for _, l := range Languages {
		if tag := l.Tag.String(); form.Get("language") == tag {
			keep(w, languageCookie, tag, year)
		}
	}
	switch scheme := form.Get("scheme"); scheme {
	case "light", "dark":
		keep(w, schemeCookie, scheme, year)
	case "auto":
		keep(w, schemeCookie, "", -1)
	}
	http.Redirect(w, r, local(form.Get("back")), http.StatusSeeOther)
}

// local gives a path of this console, "/" when to is anything else.
func local(to string) string {
	u, err := url.Parse(to)
	if err != nil || len(to) > 2000 || u.IsAbs() || u.Host != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\x00\r\n\t") {
		return "/"
	}
	return to
}
