//go:build !unix

package sqlite

// Rights on files are not checked here, because the mode does not show them.

func (j *Journal) checkPermissions(bool) error { return nil }

func explainOwner(_ string, err error) error { return err }

func giveToOwner(string, string) error { return nil }

// Warnings describe conditions that are permitted, but can lose the journal.
func Warnings(string) []string { return nil }
