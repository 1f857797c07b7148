//go:build !linux

package app

func openFiles() (uint64, bool) { return 0, false }
