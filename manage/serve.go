package manage

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/mail"
)

// Bounds of the transport.
const (
	maxBody        = 3 << 20 // bytes of a request; two files of MaxFile in base64
	maxHeader      = 16 << 10
	maxConnections = 64
	readTimeout    = 30 * time.Second
	runTimeout     = 2 * time.Minute // one cmdlet, draining a service included
	idleTimeout    = time.Minute
)

// Listen makes the management socket: its folder is made, 0750, when it is not
// there, the socket is 0660. What an earlier run left behind is replaced; a socket
// that somebody serves is KindInUse. Administrators, when that group exists, is
// made the group of both as far as the server's user may.
func (s *Server) Listen(path string) (net.Listener, error) {
	folder := filepath.Dir(path)
	made := false
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(folder, 0o750); err != nil {
			return nil, &mail.Error{Kind: mail.KindUnavailable, Text: "the folder of the management socket cannot be made", Cause: err}
		}
		made = true
	}
	l, err := listener.ListenUnix(path, 0o660)
	if err != nil {
		return nil, err
	}
	if group, err := user.LookupGroup(s.Administrators); s.Administrators != "" && err == nil {
		gid, _ := strconv.Atoi(group.Gid)
		files := []string{path}
		if made {
			files = append(files, folder)
		}
		for _, f := range files {
			if err := os.Chown(f, -1, gid); err != nil {
				s.Log.Warn("the group of the management socket cannot be set", "path", f, "group", s.Administrators, "error", err)
			}
		}
	}
	return l, nil
}

// Serve answers on a Unix socket until ctx ends, then lets running cmdlets end
// for at most five seconds. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	server := &http.Server{
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.Background(), servingKey{}, serving)
		},
		Handler:           s.Handler(),
		ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: runTimeout + readTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			if b, ok := conn.(*boundedConn); ok {
				conn = b.Conn
			}
			if p, ok := s.peerOfConn(conn); ok {
				ctx = context.WithValue(ctx, peerKey{}, p)
			}
			return ctx
		},
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		end() // what is followed
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if server.Shutdown(drain) != nil {
			server.Close()
		}
	})
	err := server.Serve(&bounded{Listener: l, free: make(chan struct{}, maxConnections), closed: make(chan struct{})})
	if stop() {
		server.Close()
		return mail.Wrap(mail.KindUnavailable, err)
	}
	<-done
	return nil
}

// bounded is a listener with at most maxConnections open connections.
type bounded struct {
	net.Listener
	free   chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.free <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	conn, err := b.Listener.Accept()
	if err != nil {
		<-b.free
		return nil, err
	}
	return &boundedConn{Conn: conn, release: sync.OnceFunc(func() { <-b.free })}, nil
}

func (b *bounded) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Listener.Close()
}

type boundedConn struct {
	net.Conn
	release func()
}

func (c *boundedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

type peerKey struct{}

// Handler serves the API over HTTP with JSON on the management socket. The caller
// comes from the connection.
func (s *Server) Handler() http.Handler {
	return s.identified(s.socketRequest, s.routes(""))
}

// routes are the requests of the API: POST /cmdlet/{name} runs one cmdlet with the
// parameters in its body, GET /cmdlets describes them all, GET /suggest/{source}
// gives values for completion, GET /follow/{cmdlet} gives what comes until the caller
// goes, GET /openapi.json describes the API for programs.
func (s *Server) routes(prefix string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+prefix+"/cmdlet/{name}", s.runHTTP)
	mux.HandleFunc("GET "+prefix+"/cmdlets", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.cmdlets) })
	mux.HandleFunc("GET "+prefix+"/suggest/{source}", s.suggestHTTP)
	mux.HandleFunc("GET "+prefix+"/follow/{cmdlet}", s.followHTTP)
	mux.HandleFunc("GET "+prefix+"/openapi.json", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, OpenAPI(prefix)) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, mail.Errorf(mail.KindNotFound, "the management API has POST %s/cmdlet/{name}, GET %[1]s/cmdlets, GET %[1]s/suggest/{source}, GET %[1]s/follow/{cmdlet} and GET %[1]s/openapi.json", prefix))
	})
	return mux
}

// socketRequest gives the caller of a request on the management socket, with what
// it may do now; one whose connection is not known holds no role.
func (s *Server) socketRequest(r *http.Request) (Caller, error) {
	p, ok := r.Context().Value(peerKey{}).(peer)
	if !ok {
		return unknownCaller("socket", "the server cannot tell which operating-system user is calling"), nil
	}
	return s.peerCaller(r.Context(), p)
}

func (s *Server) runHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var tooBig *http.MaxBytesError
		if errors.As(err, &tooBig) {
			refuse(w, mail.Errorf(mail.KindTooBig, "a request has at most %d bytes", maxBody))
			return
		}
		refuse(w, mail.Errorf(mail.KindBadArgument, "the body did not come to its end"))
		return
	}
	if c := s.Cmdlet(r.PathValue("name")); c != nil && c.Long {
		s.runLongHTTP(w, r, body)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), runTimeout)
	defer cancel()
	result, err := s.Run(ctx, callerIn(ctx), r.PathValue("name"), body)
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusOK, result)
}

// maxSuggestions bounds what completion is offered.
const maxSuggestions = 500

// suggestHTTP gives values for completion to whoever may look at them.
func (s *Server) suggestHTTP(w http.ResponseWriter, r *http.Request) {
	names := []string{}
	switch Suggest(r.PathValue("source")) {
	case SuggestCmdlets:
		for _, c := range s.cmdlets {
			names = append(names, c.Name)
		}
	case SuggestMailboxes:
		if err := s.May(callerIn(r.Context()), "Get-Mailbox"); err != nil {
			refuse(w, err)
			return
		}
		entries, err := s.Directory.List(r.Context())
		if err != nil {
			refuse(w, err)
			return
		}
		for _, e := range entries[:min(len(entries), maxSuggestions)] {
			names = append(names, e.Name)
		}
	case SuggestCertificates:
		if err := s.May(callerIn(r.Context()), "Get-ServerCertificate"); err != nil {
			refuse(w, err)
			return
		}
		if s.Pairs != nil {
			for _, c := range s.Pairs.List() {
				names = append(names, c.Thumbprint())
			}
		}
	default:
		refuse(w, mail.Errorf(mail.KindNotFound, "there is no source %q", r.PathValue("source")))
		return
	}
	answer(w, http.StatusOK, names)
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, err error) {
	status := mail.KindOf(err).Answer().HTTP
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="Postern"`) // RFC 6750, 3
	}
	answer(w, status, map[string]Fault{"error": FaultOf(err)})
}

func answer(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":{"kind":"ServerBug","text":"The answer cannot be written."}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(append(text, '\n'))
}
