package listener

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// HTTP speaks HTTP/1.1 on the connections of a Service: HandleHTTP makes a
// Service.Handle of an http.Server. The Service does TLS, limits and drain; the
// http.Server has the deadlines. Close it when the Service has stopped for good.
type HTTP struct {
	server *http.Server
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	done   chan struct{}
}

// HandleHTTP begins to serve. server is not used otherwise.
func HandleHTTP(server *http.Server) *HTTP {
	h := &HTTP{server: server, conns: make(chan net.Conn), closed: make(chan struct{}), done: make(chan struct{})}
	server.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
		if served, ok := nc.(*servedConn); ok {
			return context.WithValue(served.c.Context(), httpConnKey{}, served.c)
		}
		return ctx
	}
	go func() {
		defer close(h.done)
		server.Serve(httpListener{h}) // ends with ErrServerClosed
	}()
	return h
}

type httpConnKey struct{}

// ConnOf gives the connection of a request that came through HandleHTTP, else nil.
func ConnOf(ctx context.Context) *Conn {
	c, _ := ctx.Value(httpConnKey{}).(*Conn)
	return c
}

// Handle is the Service's.
func (h *HTTP) Handle(_ context.Context, c *Conn) {
	served := &servedConn{Conn: c.Raw(), c: c, over: make(chan struct{})}
	select {
	case h.conns <- served:
	case <-h.closed:
		return
	}
	h.server.SetKeepAlivesEnabled(true)
	select {
	case <-served.over:
		return
	case <-c.Draining():
		h.server.SetKeepAlivesEnabled(false) // closes those that are idle
	}
	<-served.over
}

// httpListener gives the connections to the http.Server.
type httpListener struct{ h *HTTP }

func (l httpListener) Accept() (net.Conn, error) {
	h := l.h
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (l httpListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l httpListener) Close() error {
	l.h.once.Do(func() { close(l.h.closed) })
	return nil
}

// Close ends the http.Server with all that it serves.
func (h *HTTP) Close() error {
	h.once.Do(func() { close(h.closed) })
	err := h.server.Close()
	<-h.done
	return err
}

// servedConn tells when the http.Server is done with it.
type servedConn struct {
	net.Conn
	c    *Conn
	over chan struct{}
	once sync.Once
}

func (s *servedConn) Close() error {
	defer s.once.Do(func() { close(s.over) })
	return s.Conn.Close()
}
