//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// surviveOutputs ignores SIGPIPE, so that a write fails, and the process goes on, when the
// reader of stdout or stderr has ended. It ignores SIGTTOU, which would stop a background
// service that logs to its terminal.
func surviveOutputs() { signal.Ignore(syscall.SIGPIPE, syscall.SIGTTOU) }
