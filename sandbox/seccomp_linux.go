//go:build linux && (amd64 || arm64)

package sandbox

import (
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// calls are the system calls that a server makes, its libraries, and the C library where
// the program is linked with it; oldCalls are those that newer architectures do not have. All
// others fail with EPERM: programs and namespaces, other processes' memory, mounts,
// modules, keys, io_uring, bpf, clocks, users.
var calls = []uintptr{
	// Files.
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64, unix.SYS_PWRITE64,
	unix.SYS_PREADV, unix.SYS_PWRITEV, unix.SYS_PREADV2, unix.SYS_PWRITEV2, unix.SYS_LSEEK, unix.SYS_CLOSE, unix.SYS_CLOSE_RANGE,
	unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_FSTAT, unix.SYS_NEWFSTATAT, unix.SYS_STATX, unix.SYS_STATFS, unix.SYS_FSTATFS,
	unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_FCNTL, unix.SYS_FLOCK, unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNC_FILE_RANGE,
	unix.SYS_SYNCFS, unix.SYS_FALLOCATE, unix.SYS_TRUNCATE, unix.SYS_FTRUNCATE, unix.SYS_FADVISE64, unix.SYS_READAHEAD, unix.SYS_COPY_FILE_RANGE,
	unix.SYS_SENDFILE, unix.SYS_SPLICE, unix.SYS_TEE, unix.SYS_GETDENTS64, unix.SYS_GETCWD, unix.SYS_CHDIR, unix.SYS_FCHDIR,
	unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_MKDIRAT, unix.SYS_UNLINKAT, unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_READLINKAT,
	unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT, unix.SYS_UMASK,
	unix.SYS_DUP, unix.SYS_DUP3, unix.SYS_PIPE2, unix.SYS_MEMFD_CREATE,
	// Waiting.
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2, unix.SYS_PPOLL, unix.SYS_PSELECT6,
	unix.SYS_EVENTFD2, unix.SYS_TIMERFD_CREATE, unix.SYS_TIMERFD_SETTIME, unix.SYS_TIMERFD_GETTIME,
	unix.SYS_INOTIFY_INIT1, unix.SYS_INOTIFY_ADD_WATCH, unix.SYS_INOTIFY_RM_WATCH,
	// Networks; socket is below.
	unix.SYS_SOCKETPAIR, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT, unix.SYS_ACCEPT4, unix.SYS_CONNECT, unix.SYS_SHUTDOWN,
	unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT,
	unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_SENDMMSG, unix.SYS_RECVMMSG,
	// Memory and threads; mmap, mprotect and clone are below.
	unix.SYS_MUNMAP, unix.SYS_BRK, unix.SYS_MREMAP, unix.SYS_MADVISE, unix.SYS_MINCORE, unix.SYS_MSYNC,
	unix.SYS_MLOCK, unix.SYS_MUNLOCK, unix.SYS_FUTEX, unix.SYS_FUTEX_WAITV, unix.SYS_SET_ROBUST_LIST, unix.SYS_GET_ROBUST_LIST, unix.SYS_SET_TID_ADDRESS,
	unix.SYS_RSEQ, unix.SYS_MEMBARRIER, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_GETCPU,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_RESTART_SYSCALL,
	// Signals, and processes that were started.
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGPENDING, unix.SYS_RT_SIGSUSPEND, unix.SYS_RT_SIGTIMEDWAIT,
	unix.SYS_SIGALTSTACK, unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_TGKILL, unix.SYS_WAIT4, unix.SYS_WAITID, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL,
	// Time.
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES, unix.SYS_GETTIMEOFDAY, unix.SYS_TIMES,
	unix.SYS_GETITIMER, unix.SYS_SETITIMER, unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_GETTIME, unix.SYS_TIMER_GETOVERRUN, unix.SYS_TIMER_DELETE,
	// What is so.
	unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_GETPPID, unix.SYS_GETPGID, unix.SYS_GETSID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID,
	unix.SYS_GETRESUID, unix.SYS_GETRESGID, unix.SYS_GETGROUPS, unix.SYS_CAPGET, unix.SYS_GETPRIORITY, unix.SYS_GETRLIMIT, unix.SYS_GETRUSAGE,
	unix.SYS_SYSINFO, unix.SYS_UNAME, unix.SYS_GETRANDOM,
}

// programCalls are added where other programs may be started.
var programCalls = []uintptr{unix.SYS_EXECVE, unix.SYS_SETPGID, unix.SYS_SETSID}

// Bits of arguments.
const (
	namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	writeRun   = unix.PROT_WRITE | unix.PROT_EXEC
)

// prctls are those that a thread, and the C library, ask for about itself.
var prctls = []uint32{unix.PR_SET_NAME, unix.PR_GET_NAME, unix.PR_SET_PDEATHSIG, unix.PR_GET_PDEATHSIG, unix.PR_GET_DUMPABLE, unix.PR_GET_SECCOMP, unix.PR_GET_NO_NEW_PRIVS, unix.PR_SET_VMA}

// families are the kinds of sockets. Netlink is how the addresses of the host are asked for.
var families = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}

// terminalTricks type into a terminal what its user did not.
var terminalTricks = []uint32{unix.TIOCSTI, unix.TIOCLINUX}

// Offsets in what a filter sees (struct seccomp_data), and its answers.
const (
	offNumber, offArchitecture, offArguments = 0, 4, 16

	allow   = unix.SECCOMP_RET_ALLOW
	refuse  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	unknown = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS) // the caller does without
)

// program assembles the filter. Where the kernel keeps the answers that depend on nothing but the
// number (since 5.11) its length costs nothing; else an allowed call costs some dozens of
// comparisons.
func program(programs bool) []bpf.Instruction {
	p := []bpf.Instruction{
		// A call of another architecture has other numbers.
		bpf.LoadAbsolute{Off: offArchitecture, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: architecture, SkipTrue: 1},
		bpf.RetConstant{Val: unknown},
		bpf.LoadAbsolute{Off: offNumber, Size: 4},
		// What is newer than this list, and on amd64 the calls of x32, which have bit 30.
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: newest, SkipFalse: 1},
		bpf.RetConstant{Val: unknown},
	}
	// on does what follows for one call; it ends with an answer.
	on := func(call uintptr, then ...bpf.Instruction) {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(call), SkipFalse: uint8(len(then))})
		p = append(p, then...)
	}
	// argument loads the lower half of one; what is asked here are ints.
	argument := func(n uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: offArguments + 8*n, Size: 4} }
	// oneOf answers by whether the argument is one of values.
	oneOf := func(n uint32, values []uint32, yes, no uint32) (then []bpf.Instruction) {
		then = append(then, argument(n))
		for _, v := range values {
			then = append(then, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipFalse: 1}, bpf.RetConstant{Val: yes})
		}
		return append(then, bpf.RetConstant{Val: no})
	}
	// masked answers by whether the argument's bits of mask are value.
	masked := func(n, mask, value, yes, no uint32) []bpf.Instruction {
		return []bpf.Instruction{
			argument(n), bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipFalse: 1}, bpf.RetConstant{Val: yes}, bpf.RetConstant{Val: no},
		}
	}
	// The flags of clone3 are in memory, where a filter cannot look; without it clone is called.
	on(unix.SYS_CLONE3, bpf.RetConstant{Val: unknown})
	if programs {
		on(unix.SYS_CLONE, masked(0, namespaces, 0, allow, refuse)...)
	} else {
		on(unix.SYS_CLONE, masked(0, unix.CLONE_THREAD|namespaces, unix.CLONE_THREAD, allow, refuse)...)
		// No memory becomes code, nor do files. Other programs may do as they like.
		on(unix.SYS_MPROTECT, masked(2, unix.PROT_EXEC, 0, allow, refuse)...)
		if loads {
			on(unix.SYS_MMAP, masked(2, writeRun, writeRun, refuse, allow)...)
		} else {
			on(unix.SYS_MMAP, masked(2, unix.PROT_EXEC, 0, allow, refuse)...)
		}
	}
	on(unix.SYS_SOCKET, oneOf(0, families, allow, refuse)...)
	on(unix.SYS_IOCTL, oneOf(1, terminalTricks, refuse, allow)...)
	on(unix.SYS_PRCTL, oneOf(0, prctls, allow, refuse)...)
	on(unix.SYS_PRLIMIT64, masked(0, ^uint32(0), 0, allow, refuse)...) // of this process

	all := slices.Concat(calls, oldCalls)
	if programs {
		all = slices.Concat(all, programCalls, oldProgramCalls, []uintptr{unix.SYS_MPROTECT, unix.SYS_MMAP})
	}
	slices.Sort(all)
	for i := 0; i < len(all); {
		first, last := uint32(all[i]), uint32(all[i])
		for i++; i < len(all) && uint32(all[i]) <= last+1; i++ {
			last = uint32(all[i])
		}
		if first == last {
			p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: first, SkipFalse: 1}, bpf.RetConstant{Val: allow})
			continue
		}
		p = append(p,
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: first, SkipFalse: 2},
			bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: last, SkipFalse: 1},
			bpf.RetConstant{Val: allow})
	}
	return append(p, bpf.RetConstant{Val: refuse})
}

// restrictSystemCalls lets the filter hold for all threads. no_new_privs must hold already.
func restrictSystemCalls(programs bool) error {
	raw, err := bpf.Assemble(program(programs))
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	// Kernels before 5.16 make a confined process slower, against what runs in one
	// process and does not trust itself.
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	thread, _, no := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags,
		uintptr(unsafe.Pointer(&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})))
	switch {
	case no == unix.ENOSYS:
		return fmt.Errorf("the kernel does not have it")
	case no != 0:
		return no
	case thread != 0:
		return fmt.Errorf("thread %d has a filter of its own", thread)
	}
	return nil
}
