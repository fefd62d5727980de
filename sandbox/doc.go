// Package sandbox takes from this process what a mail server has no use for: the rights
// of root ([Identity.Become]), and by [Confine] files that are not its own (Landlock),
// system calls that only an intruder makes (seccomp), gaining rights again
// (no_new_privs), and its picture in a core file. All of it holds for every thread and for
// ever; [Sandbox.Status] tells what holds. docs/hardening.md says what that means for an
// administrator.
//
// The package acts on the process, of which there is one: who calls it is the program,
// once, before it serves.
package sandbox
