//go:build !unix

package app

import "io/fs"

func ownedByRoot(fs.FileInfo) bool { return false }
