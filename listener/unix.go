package listener

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/postern-mail/postern/mail"
)

// ListenUnix opens the Unix socket path with the given mode. Nobody can open it
// before it has that mode. A socket that an earlier run left behind is replaced;
// one that somebody serves, and anything that is no socket, is KindInUse. Other
// errors are KindUnavailable.
func ListenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	if err := clearUnix(path); err != nil {
		return nil, err
	}
	// The mode of the descriptor is the one that bind gives the file, less the umask.
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var chmod error
		if err := raw.Control(func(fd uintptr) { chmod = syscall.Fchmod(int(fd), 0o600) }); err != nil {
			return err
		}
		return chmod
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err == nil {
		if err = os.Chmod(path, mode); err == nil {
			return l, nil
		}
		l.Close()
	}
	return nil, &mail.Error{Kind: mail.KindUnavailable, Text: "the socket " + path + " cannot be made", Cause: err}
}

// clearUnix removes a socket that nobody serves.
func clearUnix(path string) error {
	inUse := func(text string) error {
		return &mail.Error{Kind: mail.KindInUse, Text: text, Cause: syscall.EADDRINUSE}
	}
	file, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return &mail.Error{Kind: mail.KindUnavailable, Text: "the socket " + path + " cannot be looked at", Cause: err}
	case file.Mode().Type() != fs.ModeSocket:
		return inUse(path + " exists and is not a socket; it is left alone")
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
		return inUse("another server is listening on " + path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return inUse(path + " may be in use")
	}
	if err := os.Remove(path); err != nil {
		return &mail.Error{Kind: mail.KindUnavailable, Text: "the old socket " + path + " cannot be removed", Cause: err}
	}
	return nil
}
