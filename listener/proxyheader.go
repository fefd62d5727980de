package listener

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
)

// proxyHeader is what a load balancer says of a connection before its first byte
// (HAProxy's PROXY protocol, versions 1 and 2).
type proxyHeader struct {
	// client is the address of who connected to the load balancer; the zero value when
	// the connection is the load balancer's own (LOCAL, UNKNOWN): a health check.
	client netip.AddrPort
	// tls tells that the client came to it with TLS; version and cipher are its words
	// for them, "" when it does not say.
	tls             bool
	version, cipher string
}

// Sizes of headers, in bytes.
const (
	proxyShortest = 15  // "PROXY UNKNOWN\r\n"; the fixed part of version 2 has one more
	proxyLine     = 107 // of version 1, the longest
	proxyFixed    = 16  // of version 2, up to its length
	proxyMost     = 4096
)

var errNoHeader = errors.New("no PROXY header")

// readProxyHeader reads a header and not a byte more.
func readProxyHeader(r io.Reader) (h proxyHeader, err error) {
	raw := make([]byte, proxyShortest, proxyLine)
	if _, err := io.ReadFull(r, raw); err != nil {
		return h, err
	}
	switch {
	case bytes.HasPrefix(raw, proxyproto.SIGV1):
		for !bytes.HasSuffix(raw, []byte("\r\n")) {
			if len(raw) >= proxyLine {
				return h, errors.New("the PROXY header is too long")
			}
			raw = raw[:len(raw)+1]
			if _, err := io.ReadFull(r, raw[len(raw)-1:]); err != nil {
				return h, err
			}
		}
	case bytes.HasPrefix(raw, proxyproto.SIGV2):
		raw = raw[:proxyFixed]
		if _, err := io.ReadFull(r, raw[proxyShortest:]); err != nil {
			return h, err
		}
		n := int(binary.BigEndian.Uint16(raw[proxyFixed-2:]))
		if n > proxyMost {
			return h, errors.New("the PROXY header is too long")
		}
		raw = append(raw, make([]byte, n)...)
		if _, err := io.ReadFull(r, raw[proxyFixed:]); err != nil {
			return h, err
		}
	default:
		return h, errNoHeader
	}
	return parseProxyHeader(raw)
}

// parseProxyHeader reads a header that is whole.
func parseProxyHeader(raw []byte) (h proxyHeader, err error) {
	reader := bufio.NewReader(bytes.NewReader(raw))
	header, err := proxyproto.Read(reader)
	switch {
	case err != nil:
		return h, err
	case reader.Buffered() > 0:
		return h, errors.New("the PROXY header has something behind its end")
	case header.Command == proxyproto.LOCAL:
		return h, nil
	case !header.TransportProtocol.IsStream() || header.TransportProtocol.IsUnix():
		return h, fmt.Errorf("the PROXY header is not of a TCP connection: %#x", byte(header.TransportProtocol))
	}
	source, ok := header.SourceAddr.(*net.TCPAddr)
	if !ok || source == nil {
		return h, errors.New("the PROXY header has no address")
	}
	h.client = addrPort(source)
	if !h.client.IsValid() || h.client.Addr().IsUnspecified() || h.client.Addr().IsMulticast() {
		return h, errors.New("the PROXY header's address is nobody's")
	}
	all, err := header.TLVs()
	if err != nil {
		return h, err
	}
	if ssl, ok := tlvparse.FindSSL(all); ok && ssl.ClientSSL() {
		h.tls = true
		h.version, _ = ssl.SSLVersion()
		h.cipher, _ = ssl.SSLCipher()
	}
	return h, nil
}

// forwarded is a connection that came through a load balancer, as what its header says.
type forwarded struct {
	net.Conn
	header proxyHeader
}

// RemoteAddr is the client's address, or the load balancer's for a connection of its own.
func (f *forwarded) RemoteAddr() net.Addr {
	if f.header.client.IsValid() {
		return net.TCPAddrFromAddrPort(f.header.client)
	}
	return f.Conn.RemoteAddr()
}

// SyscallConn is the socket's.
func (f *forwarded) SyscallConn() (syscall.RawConn, error) {
	if socket, ok := f.Conn.(syscall.Conn); ok {
		return socket.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// CloseWrite ends our side.
func (f *forwarded) CloseWrite() error {
	if half, ok := f.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
