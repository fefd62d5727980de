//go:build !linux

package listener

import (
	"errors"
	"net"
	"syscall"
)

// shareAddress: only Linux lets a bound socket be shared afterwards, so elsewhere
// a change between an address and its wildcard is refused as in use.
func shareAddress(net.Listener) error { return errors.ErrUnsupported }

func sharedAddress(_, _ string, _ syscall.RawConn) error { return errors.ErrUnsupported }

// keepAlive leaves to package net to set each connection.
func keepAlive() net.ListenConfig { return net.ListenConfig{} }
