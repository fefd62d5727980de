package sandbox

import (
	"errors"
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Rights of Landlock. Nothing that may be written may be executed, and no devices are made.
const (
	readFile = ll.AccessFSReadFile
	readTree = readFile | ll.AccessFSReadDir
	runFile  = readFile | ll.AccessFSExecute
	runTree  = readTree | ll.AccessFSExecute

	writeFile = readFile | ll.AccessFSWriteFile | ll.AccessFSTruncate
	writeTree = readTree | writeFile | ll.AccessFSMakeReg | ll.AccessFSMakeDir | ll.AccessFSRemoveFile | ll.AccessFSRemoveDir | ll.AccessFSRefer

	socketTree = ll.AccessFSReadDir | ll.AccessFSMakeSock | ll.AccessFSRemoveFile

	// All rights to files of version 5, which are taken; version 6 brought the scopes of signals and
	// abstract sockets.
	everyRight = 1<<16 - 1
	handled    = 6
)

// restrictFiles forbids all threads to open what rules do not name, and to send signals to
// processes outside. It gives the version of Landlock that is in force.
//
// Ports are left alone: which ones are listened on and asked is changed while the server
// runs.
func restrictFiles(rules Rules) (version int, err error) {
	version, err = ll.LandlockGetABIVersion()
	if err != nil || version < 1 {
		return 0, errors.New("the kernel does not have it, or it was not switched on when it started")
	}
	if version < 2 {
		return 0, errors.New("in kernels before 5.19 nothing can be linked from folder to folder with it, which backups do")
	}
	var all []landlock.Rule
	add := func(paths []string, tree, file landlock.AccessFSSet) {
		for _, path := range resolved(paths) {
			rights := tree
			if info, err := os.Stat(path); err != nil || !info.IsDir() {
				rights = file
			}
			if rights != 0 {
				all = append(all, landlock.PathAccess(rights, path).IgnoreIfMissing())
			}
		}
	}
	add(rules.Read, readTree, readFile)
	add(rules.Write, writeTree, writeFile)
	add(rules.Sockets, socketTree, 0)
	add(rules.Run, runTree, runFile)
	scopes := landlock.ScopedSet(ll.ScopeSignal)
	if !rules.Abstract {
		scopes |= ll.ScopeAbstractUnixSocket
	}
	if err := landlock.MustConfig(landlock.AccessFSSet(everyRight), scopes).BestEffort().Restrict(all...); err != nil {
		return 0, err
	}
	return min(version, handled), nil
}

// noNewPrivileges forbids all threads, and what they start, to gain rights by set-user-id
// programs.
func noNewPrivileges() error {
	return ll.AllThreadsPrctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}
