package main

import "golang.org/x/sys/unix"

// forbidCoreDumps keeps tokens and keys in this process's memory out of core
// files, and other processes of the same user from reading its memory.
// What the system refuses changes nothing: the program is of use without it.
func forbidCoreDumps() {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}
