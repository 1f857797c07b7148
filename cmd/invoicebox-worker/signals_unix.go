//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// surviveOutputs ignores two signals. SIGPIPE would end the process when the reader of stdout
// or stderr has ended; without it, the write fails. SIGTTOU would stop a background service
// that logs to its terminal.
func surviveOutputs() { signal.Ignore(syscall.SIGPIPE, syscall.SIGTTOU) }
