package server

import "syscall"

// attributes put a process into a group of its own and end it with the tests,
// even if they are killed.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
