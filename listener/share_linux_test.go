package listener

import (
	"context"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestKeepAlive: connections are asked whether they are still there.
func TestKeepAlive(t *testing.T) {
	s := newService(t, options{values: values(t)})
	s.Handle = func(_ context.Context, c *Conn) {
		raw, err := c.raw.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Error(err)
			return
		}
		raw.Control(func(fd uintptr) {
			for option, want := range map[[2]int]int{
				{unix.SOL_SOCKET, unix.SO_KEEPALIVE}: 1, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}: 15, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}: 15,
				{unix.IPPROTO_TCP, unix.TCP_KEEPCNT}: 9, {unix.IPPROTO_TCP, unix.TCP_NODELAY}: 1,
			} {
				if got, err := unix.GetsockoptInt(int(fd), option[0], option[1]); err != nil || got != want {
					t.Errorf("%v is %d, %v", option, got, err)
				}
			}
		})
		c.Write([]byte("done\r\n"))
	}
	dial(t, open(t, s)).want("done")
}
