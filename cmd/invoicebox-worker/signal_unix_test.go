//go:build unix

package main

import "syscall"

// otherSignals neither end the service nor stop it for long.
func otherSignals() []syscall.Signal {
	return []syscall.Signal{
		syscall.SIGPIPE, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGVTALRM, syscall.SIGPROF, syscall.SIGXFSZ, syscall.SIGXCPU,
		syscall.SIGWINCH, syscall.SIGTTOU, syscall.SIGURG, syscall.SIGIO, syscall.SIGCHLD, syscall.SIGTSTP, syscall.SIGCONT,
	}
}
