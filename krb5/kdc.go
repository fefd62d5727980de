package krb5

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// KDC asks the key distribution centres of a realm. It has no goroutine and keeps no
// connection.
type KDC struct {
	Realm string
	// Addresses are host:port, in the order in which they are asked; empty takes those
	// of the DNS (RFC 4120, 7.2.3.2).
	Addresses []string
	// Timeout is the longest that one question takes, over all of them.
	Timeout time.Duration
	Now     func() time.Time
}

// maxKDCs bounds how many are asked for one question.
const maxKDCs = 8

// exchange sends a message and gives the first answer. TCP goes first: few answers of
// Active Directory fit into a datagram. UDP is for those who do not listen on it.
func (k *KDC) exchange(ctx context.Context, message []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, k.Timeout)
	defer cancel()
	addresses, err := k.addresses(ctx)
	if err != nil {
		return nil, err
	}
	var failures []error
	for i, address := range addresses {
		// What is left is shared among those who are left, so that one who is silent
		// does not hide the others.
		end, _ := ctx.Deadline()
		share, cancel := context.WithTimeout(ctx, time.Until(end)/time.Duration(len(addresses)-i))
		answer, err := stream(share, address, message)
		if errors.Is(err, syscall.ECONNREFUSED) {
			answer, err = datagram(share, address, message)
		}
		cancel()
		if err == nil {
			return answer, nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, unavailable("no KDC of %s answers: %w", k.Realm, errors.Join(failures...))
}

// addresses gives whom to ask, at least one.
func (k *KDC) addresses(ctx context.Context) ([]string, error) {
	list := k.Addresses
	for _, protocol := range []string{"tcp", "udp"} {
		if len(list) > 0 {
			break
		}
		_, found, err := net.DefaultResolver.LookupSRV(ctx, "kerberos", protocol, strings.ToLower(k.Realm))
		if err != nil && protocol == "udp" {
			return nil, unavailable("no KDC of %s is configured, and the DNS names none: %w", k.Realm, err)
		}
		for _, s := range found {
			list = append(list, net.JoinHostPort(strings.TrimSuffix(s.Target, "."), strconv.Itoa(int(s.Port))))
		}
	}
	if len(list) == 0 {
		return nil, unavailable("no KDC of %s is configured, and the DNS names none", k.Realm)
	}
	return list[:min(len(list), maxKDCs)], nil
}

// dial opens a connection that ends with ctx.
func dial(ctx context.Context, network, address string) (c net.Conn, end func(), err error) {
	c, err = new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	return c, func() { stop(); c.Close() }, nil
}

// stream asks over TCP: each message has its size before it (RFC 4120, 7.2.2).
func stream(ctx context.Context, address string, message []byte) ([]byte, error) {
	c, end, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer end()
	if _, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n == 0 || n > MaxMessage {
		return nil, errors.New(address + " answers with " + strconv.FormatUint(uint64(n), 10) + " octets")
	}
	answer := make([]byte, n)
	_, err = io.ReadFull(c, answer)
	return answer, err
}

// datagram asks over UDP, again every second.
func datagram(ctx context.Context, address string, message []byte) ([]byte, error) {
	c, end, err := dial(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	defer end()
	answer := make([]byte, MaxMessage)
	for {
		if _, err := c.Write(message); err != nil {
			return nil, err
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		n, err := c.Read(answer)
		if err == nil {
			return answer[:n], nil
		}
		if ctx.Err() != nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
		}
	}
}
