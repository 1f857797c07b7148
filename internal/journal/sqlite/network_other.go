//go:build !linux

package sqlite

// checkDisk takes every folder: which file system it lies on is known on Linux only.
func checkDisk(string) error { return nil }

func volatile(string) string { return "" }
