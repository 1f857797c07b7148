//go:build !linux

package sqlite

// checkDisk accepts every folder: the type of the file system is known on Linux only.
func checkDisk(string) error { return nil }

func volatileFileSystem(string) string { return "" }
