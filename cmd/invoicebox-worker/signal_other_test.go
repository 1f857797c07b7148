//go:build !unix

package main

import "syscall"

func otherSignals() []syscall.Signal { return nil }
