//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// surviveOutputs keeps the end of whoever reads stdout or stderr from ending
// the process: writing fails instead. SIGTTOU would stop a service in the
// background that logs to its terminal.
func surviveOutputs() { signal.Ignore(syscall.SIGPIPE, syscall.SIGTTOU) }
