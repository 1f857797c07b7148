//go:build !unix

package sqlite

// Rights on files are not checked here, because the mode does not show them.

func (j *Journal) mayUse(bool) error { return nil }

func owned(_ string, err error) error { return err }

func inherit(string, string) error { return nil }

// Warnings describe conditions that are permitted, but can lose the journal.
func Warnings(string) []string { return nil }
