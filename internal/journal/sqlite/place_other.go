//go:build !linux

package sqlite

// sinceBoot reads the clock that cannot be set; this system has none.
func sinceBoot() (boot string, micros int64) { return "", 0 }

// fileMark distinguishes a file from its copies; this system has nothing for that.
func fileMark(string) string { return "" }
