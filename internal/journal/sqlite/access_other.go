//go:build !unix

package sqlite

// Nobody looks at the rights on files here: they are not those of the mode.

func (j *Journal) mayUse(bool) error { return nil }

func owned(_ string, err error) error { return err }

func inherit(string, string) error { return nil }

// Warnings say what works and may lose the journal.
func Warnings(string) []string { return nil }
