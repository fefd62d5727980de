// Package confinement tests what the operating system lets the whole server do: whose its
// process is, which files and system calls are left to it, and what of passwords stays in its memory.
package confinement
