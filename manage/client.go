package manage

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/postern-mail/postern/mail"
)

// Client calls a management server.
type Client struct {
	http  http.Client
	base  string // URL before the path of a request
	token string // "" on the socket
	where string // for people
}

// Dial gives a client of the management socket at path. It connects with the
// first call; Close ends its idle connections.
func Dial(path string) *Client {
	c := &Client{base: "http://postern", where: path}
	c.http.Timeout = runTimeout + readTimeout
	c.http.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", path)
		},
		MaxIdleConns: 2, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
	}
	return c
}

// DialHTTPS gives a client of the management API at base, such as
// https://mail.example.org:8443, with an API token. roots are the certificates that
// the server's must lead to, nil for those of the operating system. It connects
// with the first call. KindBadArgument when base is not such an address.
func DialHTTPS(base, token string, roots *x509.CertPool) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, mail.Errorf(mail.KindBadArgument, "%q is not the address of a server, such as https://mail.example.org:8443", base)
	}
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, mail.Errorf(mail.KindBadArgument, "that is not an API token: New-ApiToken makes one")
	}
	c := &Client{base: "https://" + u.Host + APIPrefix, token: token, where: u.Host}
	c.http.Timeout = runTimeout + readTimeout
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // the token goes nowhere else
	c.http.Transport = &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 10 * time.Second, MaxIdleConns: 2, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
	}
	return c, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// CallError is the server's refusal of a call. It is found with errors.As, and so
// is its *mail.Error.
type CallError struct {
	Fault Fault
	err   *mail.Error
}

// Error gives the text, for logs.
func (e *CallError) Error() string { return e.err.Error() }

// Unwrap gives the *mail.Error.
func (e *CallError) Unwrap() error { return e.err }

// Run runs a cmdlet with parameters, whose values are what JSON can say: string,
// bool, number, []string, map[string][]string, nil.
func (c *Client) Run(ctx context.Context, name string, parameters map[string]any) (*Result, error) {
	if parameters == nil {
		parameters = map[string]any{}
	}
	body, err := json.Marshal(parameters)
	if err != nil {
		return nil, mail.Wrap(mail.KindBadArgument, err)
	}
	r := &Result{}
	return r, c.call(ctx, http.MethodPost, "/cmdlet/"+name, body, r)
}

// Cmdlets describes the server's cmdlets.
func (c *Client) Cmdlets(ctx context.Context) ([]*Cmdlet, error) {
	var list []*Cmdlet
	return list, c.call(ctx, http.MethodGet, "/cmdlets", nil, &list)
}

// Suggest gives values for completion.
func (c *Client) Suggest(ctx context.Context, source Suggest) ([]string, error) {
	var list []string
	return list, c.call(ctx, http.MethodGet, "/suggest/"+string(source), nil, &list)
}

// maxAnswer bounds what a client reads, in bytes.
const maxAnswer = 64 << 20

// request makes one; path is below the API's.
func (c *Client) request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base, bytes.NewReader(body))
	if err != nil {
		return nil, mail.Wrap(mail.KindBadArgument, err)
	}
	request.URL.Path += path
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	return request, nil
}

// endless gives what sends requests whose answers take as long as they take.
func (c *Client) endless() *http.Client {
	return &http.Client{Transport: c.http.Transport, CheckRedirect: c.http.CheckRedirect}
}

func (c *Client) call(ctx context.Context, method, path string, body []byte, into any) error {
	request, err := c.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return c.explain(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return c.explain(err)
	}
	if response.StatusCode != http.StatusOK {
		var refused struct{ Error Fault }
		if json.Unmarshal(text, &refused) != nil || refused.Error.Kind == "" {
			return mail.Errorf(mail.KindUnavailable, "the server answered %s", response.Status)
		}
		return &CallError{refused.Error, mail.Errorf(kindNamed(refused.Error.Kind), "%s", refused.Error.Text)}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // sizes stay whole
	if err := d.Decode(into); err != nil {
		return &mail.Error{Kind: mail.KindUnavailable, Text: "the server's answer cannot be read", Cause: err}
	}
	return nil
}

// explain says why the server cannot be reached.
func (c *Client) explain(err error) error {
	text := "the server at " + c.where + " does not answer"
	var unknown *tls.CertificateVerificationError
	switch {
	case errors.As(err, &unknown):
		text = "the certificate of " + c.where + " is not one that this host trusts for that name"
	case c.token != "":
	case errors.Is(err, fs.ErrNotExist):
		text = "no server is running: there is no management socket " + c.where
	case errors.Is(err, syscall.ECONNREFUSED):
		text = "no server is running: nobody listens on " + c.where
	case errors.Is(err, fs.ErrPermission):
		text = "you may not open the management socket " + c.where + ": it needs a local administrator of this server"
	}
	return &mail.Error{Kind: mail.KindUnavailable, Text: text, Cause: err}
}

func kindNamed(name string) mail.Kind {
	for _, a := range mail.Answers {
		if a.Name == name {
			return a.Kind
		}
	}
	return mail.KindServerBug
}
