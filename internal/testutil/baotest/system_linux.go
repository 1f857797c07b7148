package baotest

import "syscall"

// endWithUs lets a process not outlive the test's.
func endWithUs(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
