//go:build unix

package sqlite

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"invoicebox-worker/internal/journal"
)

// The files of a journal are its owner's only, as those of secrets are.
func TestFilesOpenToOthers(t *testing.T) {
	open := map[string]func(path string) error{
		"run":    func(path string) error { return closing(Open(t.Context(), options(path))) },
		"beside": func(path string) error { return closing(Open(t.Context(), Options{Path: path, ReadOnly: true})) },
		"copy": func(path string) error {
			s, err := OpenSource(t.Context(), Options{Path: path})
			if err == nil {
				err = s.Close()
			}
			return err
		},
	}
	for _, tc := range []struct {
		file    string // "" is the folder
		mode    os.FileMode
		refused bool
	}{
		{"j.db", 0o644, true},
		{"j.db", 0o640, true},
		{"j.db", 0o606, true},
		{"j.db-wal", 0o644, true},
		{"j.db-shm", 0o660, true},
		{"j.db.lock", 0o604, true},
		{"", 0o777, true},
		{"", fs.ModeSticky | 0o777, false},
		{"", 0o770, false},
		{"j.db", 0o600, false},
	} {
		for name, open := range open {
			folder := filepath.Join(t.TempDir(), "journal")
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(folder, "j.db")
			j, err := Open(t.Context(), options(path))
			if err := closing(j, err); err != nil {
				t.Fatal(err)
			}
			changed := filepath.Join(folder, tc.file)
			if _, err := os.Stat(changed); err != nil {
				if err := os.WriteFile(changed, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(changed, tc.mode); err != nil {
				t.Fatal(err)
			}
			err = open(path)
			if tc.refused != errors.Is(err, ErrOpenToOthers) || !tc.refused && err != nil || tc.refused && (!strings.Contains(err.Error(), changed) || !strings.Contains(err.Error(), "chmod")) {
				t.Errorf("%s with %s %v: %v", name, tc.file, tc.mode, err)
			}
			if warns := len(Warnings(path)) > 0; warns != (tc.file == "" && volatileFileSystem(folder) == "") && volatileFileSystem(folder) == "" {
				t.Errorf("%s %v: warnings %q", tc.file, tc.mode, Warnings(path))
			}
		}
	}
}

func closing(j *Journal, err error) error {
	if err == nil {
		err = j.Close()
	}
	return err
}

// A volume that was given to a group has the mode of its files changed: the
// worker takes that back.
func TestAVolumeOfAGroup(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "volume")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "j.db")
	if err := closing(Open(t.Context(), options(path))); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{folder: fs.ModeSetgid | 0o770, path: 0o660, path + ".lock": 0o660} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := closing(Open(t.Context(), Options{Path: path, ReadOnly: true})); err != nil {
		t.Errorf("a command beside gives %v", err)
	}
	if err := closing(Open(t.Context(), options(path))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + ".lock"} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if words := Warnings(path); volatileFileSystem(folder) == "" && len(words) > 0 {
		t.Errorf("warnings %q", words)
	}
}

// A journal that belongs to another user is told as such.
func TestJournalOfAnotherUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.db")
	if err := closing(Open(t.Context(), options(path))); err != nil {
		t.Fatal(err)
	}
	denied := &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
	if got := explainOwner(path, denied); !errors.Is(got, fs.ErrPermission) || strings.Contains(got.Error(), "belongs to") {
		t.Errorf("one's own: %v", got)
	}
	if os.Geteuid() != 0 {
		t.Skip("only the superuser can give a file away")
	}
	if err := os.Chown(path, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if got := explainOwner(path, denied); !errors.Is(got, fs.ErrPermission) || !strings.Contains(got.Error(), "belongs to the user with id 12345, and this process runs as 0") {
		t.Errorf("another's: %v", got)
	}
	if got := explainOwner(path, journal.ErrHeld); !errors.Is(got, journal.ErrHeld) || strings.Contains(got.Error(), "belongs to") {
		t.Errorf("another error: %v", got)
	}
	// What the superuser makes beside it is its owner's.
	if err := os.Remove(path + ".lock"); err != nil {
		t.Fatal(err)
	}
	if err := closing(Open(t.Context(), options(path))); err != nil {
		t.Fatal(err)
	}
	if uid, other := foreignOwner(path + ".lock"); !other || uid != 12345 {
		t.Errorf("the lock is of %d", uid)
	}
	if words := strings.Join(Warnings(path), " "); !strings.Contains(words, "12345") {
		t.Errorf("warnings %q", words)
	}
}
