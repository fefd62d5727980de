//go:build linux

package sandbox

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// The tests run this program once more, confined: what they try stands here, in the test alone.
const (
	role    = "POSTERN_SANDBOX_TEST" // which try
	folder  = "POSTERN_SANDBOX_FOLDER"
	started = "POSTERN_SANDBOX_PROGRAM" // other programs may be started
	lesser  = "POSTERN_SANDBOX_LESSER"  // root has not all of its rights, as in containers
)

func TestMain(m *testing.M) {
	var try func(dir string) (map[string]string, error)
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "confined":
		try = confined
	case "identity":
		try = identity
	case "renewed":
		try = renewed
	}
	told, err := try(os.Getenv(folder))
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(told)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child runs a try in a process of its own.
func child(t *testing.T, what, dir string, env ...string) map[string]string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(append(os.Environ(), role+"="+what, folder+"="+dir), env...)
	stderr := &strings.Builder{}
	cmd.Stderr = stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	told := map[string]string{}
	if err := json.Unmarshal(out, &told); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return told
}

// kernel skips a test where the kernel, or who guards it, has no Landlock; in CI that is a failure.
func kernel(t *testing.T) {
	t.Helper()
	if v, _, no := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); no != 0 || v < 1 {
		if os.Getenv("CI") != "" {
			t.Fatal("NOT TESTED: the kernel has no Landlock")
		}
		t.Skip("NOT TESTED: the kernel has no Landlock")
	}
}

// call is a raw system call.
func call(number uintptr, a ...uintptr) error {
	var arg [6]uintptr
	copy(arg[:], a)
	if _, _, no := unix.Syscall6(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]); no != 0 {
		return no
	}
	return nil
}

// attempts are what an intruder would do; each must fail, with EPERM, EACCES, EXDEV or ENOSYS. What they
// would do to this machine if they did not is nothing: they have arguments that are wrong.
func attempts(dir string) map[string]func() error {
	own, other := filepath.Join(dir, "own"), filepath.Join(dir, "other")
	text := []byte("x")
	bad := ^uintptr(0)
	zero := make([]byte, 256)
	at := uintptr(unsafe.Pointer(&zero[0]))
	all := map[string]func() error{
		"read a file of others":     func() error { _, err := os.ReadFile(filepath.Join(other, "secret")); return err },
		"read it by way of a link":  func() error { _, err := os.ReadFile(filepath.Join(own, "link")); return err },
		"read it by way of ..":      func() error { _, err := os.ReadFile(own + "/../other/secret"); return err },
		"list a folder of others":   func() error { _, err := os.ReadDir(other); return err },
		"list /":                    func() error { _, err := os.ReadDir("/"); return err },
		"read /root":                func() error { _, err := os.ReadDir("/root"); return err },
		"write a file of others":    func() error { return os.WriteFile(filepath.Join(other, "secret"), text, 0o600) },
		"make a file elsewhere":     func() error { return os.WriteFile(filepath.Join(other, "new"), text, 0o600) },
		"make a file in /tmp":       func() error { return os.WriteFile(filepath.Join(os.TempDir(), "postern-sandbox"), text, 0o600) },
		"write to /etc":             func() error { return os.WriteFile("/etc/postern-sandbox", text, 0o600) },
		"make a folder elsewhere":   func() error { return os.Mkdir(filepath.Join(other, "new"), 0o700) },
		"remove a file of others":   func() error { return os.Remove(filepath.Join(other, "secret")) },
		"rename a file out":         func() error { return os.Rename(filepath.Join(own, "file"), filepath.Join(other, "file")) },
		"link a file of others in":  func() error { return os.Link(filepath.Join(other, "secret"), filepath.Join(own, "stolen")) },
		"truncate a file of others": func() error { return os.Truncate(filepath.Join(other, "secret"), 0) },
		"write what may be read":    func() error { return os.WriteFile(filepath.Join(dir, "readable", "file"), text, 0o600) },
		"make a symbolic link":      func() error { return os.Symlink("/etc/shadow", filepath.Join(own, "shadow")) },
		"make a device":             func() error { return unix.Mknod(filepath.Join(own, "device"), unix.S_IFCHR|0o600, 1<<8|3) },
		"make a socket elsewhere": func() error {
			l, err := net.Listen("unix", filepath.Join(other, "socket"))
			if err == nil {
				l.Close()
			}
			return err
		},
		"read the parent's memory": func() error {
			_, err := os.ReadFile(fmt.Sprintf("/proc/%d/mem", os.Getppid()))
			return err
		},
		"read the parent's environment": func() error {
			_, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", os.Getppid()))
			return err
		},
		"execute what it wrote": func() error {
			return unix.Exec(filepath.Join(own, "program"), []string{"program"}, nil)
		},
		"execute by descriptor": func() error {
			f, err := os.Open(filepath.Join(own, "program"))
			if err != nil {
				return fmt.Errorf("not tried: %v", err)
			}
			defer f.Close()
			return call(unix.SYS_EXECVEAT, f.Fd(), at, 0, 0, unix.AT_EMPTY_PATH)
		},
		"unshare":         func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
		"setns":           func() error { return unix.Setns(0, 0) },
		"clone namespace": func() error { return call(unix.SYS_CLONE, unix.CLONE_NEWUSER|unix.CLONE_THREAD|1<<40) },
		"clone3":          func() error { return call(unix.SYS_CLONE3, at, 64) },
		"make memory into code": func() error {
			m, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
			if err != nil {
				return fmt.Errorf("not tried: %v", err)
			}
			return unix.Mprotect(m, unix.PROT_READ|unix.PROT_EXEC)
		},
		"memory that is both": func() error {
			_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
			return err
		},
		"ptrace":            func() error { return call(unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(os.Getppid())) },
		"process_vm_readv":  func() error { return call(unix.SYS_PROCESS_VM_READV, uintptr(os.Getppid()), at, 1, at, 1, 0) },
		"process_vm_writev": func() error { return call(unix.SYS_PROCESS_VM_WRITEV, uintptr(os.Getppid()), at, 1, at, 1, 0) },
		"process_madvise":   func() error { return call(unix.SYS_PROCESS_MADVISE, bad, at, 1, 0, 0) },
		"pidfd_getfd":       func() error { return call(unix.SYS_PIDFD_GETFD, bad, 0, 0) },
		"kcmp":              func() error { return call(unix.SYS_KCMP, uintptr(os.Getppid()), uintptr(os.Getpid()), 0, 0, 0) },
		"mount":             func() error { return call(unix.SYS_MOUNT, at, at, at, 0, 0) },
		"umount2":           func() error { return call(unix.SYS_UMOUNT2, at, 0) },
		"open_tree":         func() error { return call(unix.SYS_OPEN_TREE, bad, at, 0) },
		"move_mount":        func() error { return call(unix.SYS_MOVE_MOUNT, bad, at, bad, at, 0) },
		"fsopen":            func() error { return call(unix.SYS_FSOPEN, at, 0) },
		"pivot_root":        func() error { return call(unix.SYS_PIVOT_ROOT, at, at) },
		"chroot":            func() error { return call(unix.SYS_CHROOT, at) },
		"init_module":       func() error { return call(unix.SYS_INIT_MODULE, at, 0, at) },
		"finit_module":      func() error { return call(unix.SYS_FINIT_MODULE, bad, at, 0) },
		"delete_module":     func() error { return call(unix.SYS_DELETE_MODULE, at, 0) },
		"kexec_load":        func() error { return call(unix.SYS_KEXEC_LOAD, 0, bad, at, bad) },
		"reboot":            func() error { return call(unix.SYS_REBOOT, 0, 0, 0, 0) },
		"swapon":            func() error { return call(unix.SYS_SWAPON, at, 0) },
		"bpf":               func() error { return call(unix.SYS_BPF, bad, at, 1) },
		"perf_event_open":   func() error { return call(unix.SYS_PERF_EVENT_OPEN, at, 0, bad, bad, 0) },
		"userfaultfd":       func() error { return call(unix.SYS_USERFAULTFD, bad) },
		"io_uring_setup":    func() error { return call(unix.SYS_IO_URING_SETUP, 0, at) },
		"keyctl":            func() error { return call(unix.SYS_KEYCTL, bad, 0, 0, 0, 0) },
		"add_key":           func() error { return call(unix.SYS_ADD_KEY, at, at, at, 0, 0) },
		"request_key":       func() error { return call(unix.SYS_REQUEST_KEY, at, at, at, 0) },
		"open_by_handle_at": func() error { return call(unix.SYS_OPEN_BY_HANDLE_AT, bad, at, 0) },
		"name_to_handle_at": func() error { return call(unix.SYS_NAME_TO_HANDLE_AT, bad, at, at, at, 0) },
		"fanotify_init":     func() error { return call(unix.SYS_FANOTIFY_INIT, bad, 0) },
		"quotactl":          func() error { return call(unix.SYS_QUOTACTL, bad, at, 0, at) },
		"acct":              func() error { return call(unix.SYS_ACCT, at) },
		"personality":       func() error { return call(unix.SYS_PERSONALITY, 0xffffffff) },
		"clock_settime":     func() error { return call(unix.SYS_CLOCK_SETTIME, bad, at) },
		"settimeofday":      func() error { return call(unix.SYS_SETTIMEOFDAY, at, bad) },
		"clock_adjtime":     func() error { return call(unix.SYS_CLOCK_ADJTIME, bad, at) },
		"sethostname":       func() error { return call(unix.SYS_SETHOSTNAME, at, bad) },
		"syslog":            func() error { return call(unix.SYS_SYSLOG, 10, at, 0) },
		"setuid":            func() error { return call(unix.SYS_SETUID, uintptr(os.Getuid())) },
		"setresuid":         func() error { return call(unix.SYS_SETRESUID, bad, bad, bad) },
		"setgroups":         func() error { return call(unix.SYS_SETGROUPS, 0, 0) },
		"capset":            func() error { return call(unix.SYS_CAPSET, at, at) },
		"prctl dumpable":    func() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) },
		"prctl keep rights": func() error { return unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0) },
		"prlimit of others": func() error { return unix.Prlimit(os.Getppid(), unix.RLIMIT_NOFILE, nil, &unix.Rlimit{}) },
		"shmget":            func() error { return call(unix.SYS_SHMGET, 0, 4096, 0) },
		"memfd_secret":      func() error { return call(unix.SYS_MEMFD_SECRET, 0) },
		"mbind":             func() error { return call(unix.SYS_MBIND, at, 0, 0, 0, 0, 0) },
		"raw socket":        func() error { return socket(unix.AF_INET6+100, 0) },
		"packet socket":     func() error { return socket(unix.AF_PACKET, unix.SOCK_RAW) },
		"crypto socket":     func() error { return socket(unix.AF_ALG, unix.SOCK_SEQPACKET) },
		"virtual socket":    func() error { return socket(unix.AF_VSOCK, unix.SOCK_STREAM) },
		"type into a terminal": func() error {
			return call(unix.SYS_IOCTL, 0, unix.TIOCSTI, at)
		},
		"signal the parent":            func() error { return unix.Kill(os.Getppid(), 0) },
		"a call that is not there yet": func() error { return call(9999) },
	}
	if !loads {
		all["a file that it wrote as code"] = func() error {
			f, err := os.Open(filepath.Join(own, "program"))
			if err != nil {
				return fmt.Errorf("not tried: %v", err)
			}
			defer f.Close()
			_, err = unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
			return err
		}
	}
	if runtime.GOARCH == "amd64" {
		all["a call of x32"] = func() error { return call(0x40000000 | 39) }
		all["fork"] = func() error { return call(57) }
		all["iopl"] = func() error { return call(172, 3) }
		all["modify_ldt"] = func() error { return call(154, 0, at, 0) }
	}
	return all
}

func socket(family, kind int) error {
	fd, err := unix.Socket(family, kind, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// needs are what a server does; each must succeed.
func needs(dir string) map[string]func() error {
	own := filepath.Join(dir, "own")
	return map[string]func() error{
		"read":             func() error { _, err := os.ReadFile(filepath.Join(dir, "readable", "file")); return err },
		"read what is new": func() error { _, err := os.ReadFile(filepath.Join(dir, "readable", "below", "file")); return err },
		"write, rename, remove": func() error {
			from, to := filepath.Join(own, "a"), filepath.Join(own, "below", "b")
			if err := os.Mkdir(filepath.Join(own, "below"), 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(from, []byte("x"), 0o600); err != nil {
				return err
			}
			if err := os.Rename(from, to); err != nil {
				return err
			}
			if err := os.Truncate(to, 0); err != nil {
				return err
			}
			return os.RemoveAll(filepath.Join(own, "below"))
		},
		"a socket": func() error {
			path := filepath.Join(dir, "sockets", "socket")
			l, err := net.Listen("unix", path)
			if err != nil {
				return err
			}
			defer l.Close()
			c, err := net.Dial("unix", path)
			if err == nil {
				c.Close()
			}
			return errors.Join(err, os.Chmod(path, 0o660))
		},
		"a socket of others": func() error {
			c, err := net.Dial("unix", filepath.Join(dir, "daemon"))
			if err == nil {
				c.Close()
			}
			return err
		},
		"a port": func() error {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			defer l.Close()
			c, err := net.Dial("tcp", l.Addr().String())
			if err == nil {
				c.Close()
			}
			return err
		},
		"names":           func() error { _, err := net.LookupHost("localhost"); return err },
		"interfaces":      func() error { _, err := net.InterfaceAddrs(); return err },
		"users":           func() error { _, err := user.Lookup("root"); return err },
		"groups":          func() error { _, err := user.LookupGroupId("0"); return err },
		"authorities":     func() error { _, err := x509.SystemCertPool(); return err },
		"time zones":      func() error { _, err := time.LoadLocation("Europe/Berlin"); return err },
		"its own program": func() error { _, err := os.Readlink("/proc/self/exe"); return err },
		"its own memory":  func() error { _, err := os.ReadFile("/proc/self/smaps"); return err },
		"its own files":   func() error { _, err := os.ReadDir("/proc/self/fd"); return err },
		"the boot's time": func() error { _, err := os.ReadFile("/proc/stat"); return err },
		"free space":      func() error { return unix.Statfs(own, &unix.Statfs_t{}) },
		"a lock": func() error {
			f, err := os.OpenFile(filepath.Join(own, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
			if err != nil {
				return err
			}
			defer f.Close()
			if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
				return err
			}
			return unix.Fallocate(int(f.Fd()), 0, 0, 1<<16)
		},
		"a profile": func() error {
			if err := pprof.StartCPUProfile(&strings.Builder{}); err != nil {
				return err
			}
			pprof.StopCPUProfile()
			return nil
		},
		"threads": func() error {
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					runtime.LockOSThread() // and the thread ends with the goroutine
					time.Sleep(time.Millisecond)
				})
			}
			all.Wait()
			return nil
		},
		"memory": func() error {
			b := make([]byte, 64<<20)
			b[len(b)-1] = 1
			runtime.GC()
			return nil
		},
		"a signal to itself": func() error { return unix.Kill(os.Getpid(), unix.SIGCONT) },
	}
}

// prefixes of what a confined try tells.
const (
	tried, needed, thread, status = "try: ", "need: ", "thread: ", "status: "
)

// confined tries, confined, attempts and needs; threads that were there before try too.
func confined(dir string) (map[string]string, error) {
	rules := Rules{
		Read:    []string{filepath.Join(dir, "readable"), "/etc", "/usr", "/lib", "/lib64", "/proc/self", "/proc/stat", "/proc/sys", filepath.Join(dir, "not there")},
		Write:   []string{filepath.Join(dir, "own"), "/dev/null"},
		Sockets: []string{filepath.Join(dir, "sockets")},
	}
	if os.Getenv(started) != "" {
		rules.Run = []string{"/usr", "/bin", "/lib", "/lib64"}
	}
	told := map[string]string{}
	begin, old := make(chan struct{}), sync.WaitGroup{}
	var mu sync.Mutex
	for i := range 4 {
		old.Go(func() {
			runtime.LockOSThread()
			<-begin
			_, err := os.ReadFile(filepath.Join(dir, "other", "secret"))
			mu.Lock()
			defer mu.Unlock()
			told[fmt.Sprint(thread, i)] = outcome(err)
		})
	}
	time.Sleep(10 * time.Millisecond)
	box, err := Confine(Required, rules)
	if err != nil {
		return nil, err
	}
	close(begin)
	old.Wait()
	if rules.Run != nil {
		out, err := exec.Command("/bin/sh", "-c", "cat /etc/hostname >/dev/null; echo started").CombinedOutput()
		told["started"] = string(out) + outcome(err)
		out, err = exec.Command("/bin/sh", "-c", "cat "+filepath.Join(dir, "other", "secret")).CombinedOutput()
		told["of others"] = string(out) + outcome(err)
		out, err = exec.Command("/usr/bin/unshare", "-U", "true").CombinedOutput()
		told["unshare"] = string(out) + outcome(err)
		out, err = exec.Command(filepath.Join(dir, "own", "program")).CombinedOutput()
		told["what it wrote"] = string(out) + outcome(err)
		return told, nil
	}
	for name, try := range attempts(dir) {
		told[tried+name] = outcome(try())
	}
	for name, need := range needs(dir) {
		told[needed+name] = outcome(need())
	}
	told["dumpable"] = fmt.Sprint(dumpable())
	told["allowed"] = fmt.Sprint(box.Allows(filepath.Join(dir, "readable", "new"), false), box.Allows(filepath.Join(dir, "own", "new"), true),
		box.Allows(filepath.Join(dir, "readable", "new"), true), box.Allows(filepath.Join(dir, "other"), false), box.Allows(filepath.Join(dir, "own", "link"), false), box.Allows(dir+"/own-not", true))
	return told, tasks(told)
}

// tasks tells what the kernel says of each thread.
func tasks(told map[string]string) error {
	list, err := filepath.Glob("/proc/self/task/*/status")
	for _, path := range list {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		told[status+filepath.Base(filepath.Dir(path))] = string(text)
	}
	return err
}

func outcome(err error) string {
	var no syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &no):
		return unix.ErrnoName(no)
	}
	return err.Error()
}

// line gives a line of a thread's status.
func line(text, key string) string {
	_, rest, _ := strings.Cut("\n"+text, "\n"+key+":")
	value, _, _ := strings.Cut(rest, "\n")
	return strings.Join(strings.Fields(value), " ")
}

// scene makes the folders of a try.
func scene(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	put := func(name, text string, mode os.FileMode) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	put("readable/file", "r", 0o600)
	put("readable/below/file", "r", 0o600)
	put("other/secret", "the secret of others", 0o644)
	put("own/file", "o", 0o600)
	put("own/program", "#!/bin/sh\necho what it wrote ran\n", 0o755)
	put("sockets/.keep", "", 0o600)
	if err := os.Symlink(filepath.Join(dir, "other", "secret"), filepath.Join(dir, "own", "link")); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "daemon"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	return dir
}

// TestConfine: what an intruder would do fails, in every thread; what a server does works.
func TestConfine(t *testing.T) {
	kernel(t)
	dir := scene(t)
	told := child(t, "confined", dir)
	refused, worked, threads := 0, 0, 0
	for what, how := range told {
		switch {
		case strings.HasPrefix(what, tried):
			if refused++; !slices.Contains([]string{"EPERM", "EACCES", "EXDEV", "ENOSYS"}, how) {
				t.Errorf("%s%s", what, how)
			}
		case strings.HasPrefix(what, needed):
			if worked++; how != "ok" {
				t.Errorf("%s%s", what, how)
			}
		case strings.HasPrefix(what, thread):
			if how != "EACCES" {
				t.Errorf("a thread that was there before: %s", how)
			}
		case strings.HasPrefix(what, status):
			threads++
			for _, want := range []struct{ key, value string }{{"NoNewPrivs", "1"}, {"Seccomp", "2"}} {
				if got := line(how, want.key); got != want.value {
					t.Errorf("%s: %s is %q, want %q", what, want.key, got, want.value)
				}
			}
		}
	}
	if told["dumpable"] != "0" || told["allowed"] != "true true false false false false" {
		t.Errorf("dumpable %s, allowed %s", told["dumpable"], told["allowed"])
	}
	if text, err := os.ReadFile(filepath.Join(dir, "other", "secret")); err != nil || string(text) != "the secret of others" {
		t.Errorf("the file of others: %q, %v", text, err)
	}
	if refused < 70 || worked < 15 || threads < 4 {
		t.Errorf("%d attempts, %d needs, %d threads", refused, worked, threads)
	}
	t.Logf("prove: ways out that are refused: %d", refused)
	t.Logf("%d needs, %d threads", worked, threads)
}

// TestConfinePrograms: where programs may be started they stand within the same bounds.
func TestConfinePrograms(t *testing.T) {
	kernel(t)
	told := child(t, "confined", scene(t), started+"=1")
	if told["started"] != "started\nok" {
		t.Errorf("a program: %q", told["started"])
	}
	for _, what := range []string{"of others", "unshare", "what it wrote"} {
		if how := told[what]; strings.HasSuffix(how, "ok") || strings.Contains(how, "the secret") || strings.Contains(how, "ran") {
			t.Errorf("%s: %q", what, how)
		}
	}
}

// TestOff: nothing is taken, and everything allowed.
func TestOff(t *testing.T) {
	box, err := Confine(Off, Rules{})
	if err != nil || box != nil || box.Status().NoNewPrivileges || !box.Allows("/root", true) {
		t.Error(box, err)
	}
}

// nobody is a user that every Debian has.
const nobody = "nobody"

// identity becomes nobody and tries to be root again.
func identity(dir string) (map[string]string, error) {
	id, found, err := Lookup(nobody, "adm", "no such group")
	if err != nil || !found {
		return nil, fmt.Errorf("%v %v", found, err)
	}
	ready := make(chan struct{})
	defer close(ready)
	for range 4 {
		go func() {
			runtime.LockOSThread()
			<-ready
		}()
	}
	if os.Getenv(lesser) != "" {
		rights := cap.GetProc()
		for _, flag := range []cap.Flag{cap.Permitted, cap.Effective} {
			if err := rights.SetFlag(flag, false, cap.SETPCAP, cap.NET_BIND_SERVICE); err != nil {
				return nil, err
			}
		}
		if err := rights.SetProc(); err != nil {
			return nil, err
		}
	}
	if err := id.Become(); err != nil {
		return nil, err
	}
	own := filepath.Join(dir, "theirs", "file")
	told := map[string]string{
		"write":         outcome(os.WriteFile(own, []byte("x"), 0o600)),
		"read root's":   outcome(func() error { _, err := os.ReadFile(filepath.Join(dir, "roots", "file")); return err }()),
		"read shadow":   outcome(func() error { _, err := os.ReadFile("/etc/shadow"); return err }()),
		"setuid":        outcome(unix.Setresuid(0, 0, 0)),
		"setgid":        outcome(unix.Setresgid(0, 0, 0)),
		"setgroups":     outcome(unix.Setgroups([]int{0})),
		"signal parent": outcome(unix.Kill(os.Getppid(), 0)),
		"chown":         outcome(os.Chown(own, 0, 0)),
		"group":         outcome(os.Chown(own, -1, id.Groups[len(id.Groups)-1])),
		"chroot":        outcome(unix.Chroot(dir)),
		"its figures":   outcome(func() error { _, err := os.ReadDir("/proc/self/fd"); return err }()),
		"its memory":    outcome(func() error { _, err := os.ReadFile("/proc/self/smaps"); return err }()),
		"low port": outcome(func() error {
			var err error
			for port := 1023; port > 900; port-- {
				var l net.Listener
				if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
					return l.Close()
				}
			}
			return err
		}()),
	}
	return told, tasks(told)
}

// TestBecome: root's process becomes another's, in every thread, and opens low ports.
func TestBecome(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED: only root can become another")
	}
	id, found, err := Lookup(nobody)
	if err != nil || !found {
		t.Skip("NOT TESTED: there is no user nobody", err)
	}
	dir, err := os.MkdirTemp("", "postern-identity-") // every folder above of the test's own is root's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for name, mode := range map[string]os.FileMode{"": 0o755, "theirs": 0o700, "roots": 0o755} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(dir, "theirs"), id.UID, id.GID); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "roots", "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	told := child(t, "identity", dir)
	for what, want := range map[string]string{
		"write": "ok", "low port": "ok", "its figures": "ok", "its memory": "ok", "group": "ok",
		"read root's": "EACCES", "read shadow": "EACCES", "setuid": "EPERM", "setgid": "EPERM", "setgroups": "EPERM", "signal parent": "EPERM", "chown": "EPERM", "chroot": "EPERM",
	} {
		if told[what] != want {
			t.Errorf("%s: %s, want %s", what, told[what], want)
		}
	}
	threads := 0
	for what, text := range told {
		if !strings.HasPrefix(what, status) {
			continue
		}
		threads++
		uid, gid := fmt.Sprint(id.UID), fmt.Sprint(id.GID)
		const port = "0000000000000400" // CAP_NET_BIND_SERVICE
		for key, want := range map[string]string{
			"Uid": strings.Repeat(" "+uid, 4)[1:], "Gid": strings.Repeat(" "+gid, 4)[1:],
			"CapPrm": port, "CapEff": port, "CapBnd": port, "CapInh": "0000000000000000", "CapAmb": "0000000000000000",
		} {
			if got := line(text, key); got != want {
				t.Errorf("%s: %s is %q, want %q", what, key, got, want)
			}
		}
		if groups := strings.Fields(line(text, "Groups")); slices.Contains(groups, "0") {
			t.Errorf("%s: still in groups %v", what, groups)
		}
	}
	if threads < 4 {
		t.Errorf("%d threads", threads)
	}
	told = child(t, "identity", dir, lesser+"=1")
	if told["setuid"] != "EPERM" || told["read root's"] != "EACCES" || told["write"] != "ok" {
		t.Errorf("a root without all rights: %v", told)
	}
	for what, text := range told {
		if strings.HasPrefix(what, status) && (line(text, "CapPrm") != strings.Repeat("0", 16) || line(text, "CapEff") != strings.Repeat("0", 16)) {
			t.Errorf("%s: %s", what, text)
		}
	}
	if err := (Identity{Name: "root"}).Become(); err == nil {
		t.Error("root became root")
	}
	if _, found, err := Lookup("no-such-user-here"); found || err != nil {
		t.Error(found, err)
	}
}

func dumpable() int {
	n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return -1
	}
	return n
}

// TestRenewed: a folder that is made anew, as one that a disk is mounted on, is not the one of the
// rules any more, which the sandbox says before the kernel does.
func TestRenewed(t *testing.T) {
	kernel(t)
	dir := t.TempDir()
	own := filepath.Join(dir, "own")
	if err := os.Mkdir(own, 0o777); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			if _, err := os.Stat(filepath.Join(own, "confined")); err == nil {
				break
			} else if t.Context().Err() != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
		if err := errors.Join(os.Mkdir(filepath.Join(dir, "new"), 0o777), os.Rename(own, filepath.Join(dir, "old")), os.Rename(filepath.Join(dir, "new"), own)); err != nil {
			t.Error(err)
		}
	}()
	if got := fmt.Sprint(child(t, "renewed", dir)); got != "map[after:false EACCES before:true ok]" {
		t.Error(got)
	}
}

// renewed asks for a folder before and after it is another one.
func renewed(dir string) (map[string]string, error) {
	own := filepath.Join(dir, "own")
	box, err := Confine(On, Rules{Read: []string{"/proc/self"}, Write: []string{own}})
	if err != nil {
		return nil, err
	}
	try := func(name string) string {
		return fmt.Sprint(box.Allows(filepath.Join(own, name), true), " ", outcome(os.WriteFile(filepath.Join(own, name), nil, 0o600)))
	}
	was, err := os.Stat(own)
	if err != nil {
		return nil, err
	}
	told := map[string]string{"before": try("confined")}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if now, err := os.Stat(own); err == nil && !os.SameFile(now, was) {
			break
		}
	}
	told["after"] = try("another")
	return told, nil
}
