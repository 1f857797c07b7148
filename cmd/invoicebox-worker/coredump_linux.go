package main

import "golang.org/x/sys/unix"

// forbidCoreDumps keeps tokens and keys in this process's memory out of core
// files, and other processes of the same user from reading its memory.
// An error of the system is ignored: the program works without this protection.
func forbidCoreDumps() {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}
