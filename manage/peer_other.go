//go:build !linux

package manage

import (
	"errors"
	"net"
)

// peerOf is known for Linux only; elsewhere every caller is refused.
func peerOf(net.Conn) (peer, error) {
	return peer{}, errors.New("peer credentials are not known on this operating system")
}
