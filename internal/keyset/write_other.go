//go:build !unix

package keyset

// keepOwner does nothing: a new file belongs to the user that creates it.
func keepOwner(string, string) error { return nil }

// syncFolder does nothing: a folder cannot be synced here.
func syncFolder(string) error { return nil }
