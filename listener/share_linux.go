package listener

import (
	"errors"
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

// keepAlive has the kernel ask silent clients whether they are still there, as often as
// package net would. Linux hands on to each connection what the listening socket has;
// package net makes four system calls for it each time.
func keepAlive() net.ListenConfig {
	return net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) error {
		var set error
		err := raw.Control(func(fd uintptr) {
			set = errors.Join(
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9))
		})
		return errors.Join(err, set)
	}}
}
