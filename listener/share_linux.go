package listener

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// shareAddress lets a second socket of this user be bound to the listener's
// port. It is asked for only while a binding is replaced: with it always on, two
// servers would share a port without a word.
func shareAddress(l net.Listener) error {
	conn, ok := l.(syscall.Conn)
	if !ok {
		return syscall.EINVAL
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return sharedAddress("", "", raw)
}

// sharedAddress is the net.ListenConfig.Control of the second socket.
func sharedAddress(_, _ string, raw syscall.RawConn) error {
	var set error
	err := raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	if err != nil {
		return err
	}
	return set
}
