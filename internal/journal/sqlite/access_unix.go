//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	sqlite3 "modernc.org/sqlite/lib"
)

// fileSuffixes are the suffixes of the files of a journal.
var fileSuffixes = []string{"", "-wal", "-shm", "-journal", ".lock"}

// checkPermissions refuses files that group or world can read or write, as for files with a secret.
// A reader would learn every shop; a writer could decide what is sent.
func (j *Journal) checkPermissions(held bool) error {
	folder, err := os.Stat(filepath.Dir(j.path))
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if mode := folder.Mode(); mode.Perm()&0o002 != 0 && mode&fs.ModeSticky == 0 {
		return fmt.Errorf("%w: every user can replace files in the folder %s (mode %04o); chmod 700 it", ErrOpenToOthers, filepath.Dir(j.path), mode.Perm())
	}
	for _, suffix := range fileSuffixes {
		name := j.path + suffix
		info, err := os.Lstat(name)
		if err != nil || !info.Mode().IsRegular() {
			continue // a missing file is created for its owner only; another kind of file is refused elsewhere
		}
		open := info.Mode().Perm() & 0o077
		switch {
		case open == 0:
		case open&0o007 == 0 && givenToGroup(folder):
			// The mode of files changes when a volume of a group (fsGroup in Kubernetes)
			// is mounted.
			if held && os.Chmod(name, 0o600) == nil {
				j.log.Info("removed the group's rights on a file of the journal", "file", name, "mode", fmt.Sprintf("%04o", info.Mode().Perm()))
			}
		default:
			return fmt.Errorf("%w: %s (mode %04o) is open to group or world; chmod 600 it", ErrOpenToOthers, name, info.Mode().Perm())
		}
	}
	return nil
}

// givenToGroup reports whether a folder belongs to a group of this process, as a
// Kubernetes volume with fsGroup does.
func givenToGroup(folder fs.FileInfo) bool {
	s, ok := folder.Sys().(*syscall.Stat_t)
	if !ok || folder.Mode()&fs.ModeSetgid == 0 {
		return false
	}
	groups, err := os.Getgroups()
	return int(s.Gid) == os.Getegid() || err == nil && slices.Contains(groups, int(s.Gid))
}

// explainOwner adds the owner of the file to an error of missing rights, if it is not this
// process's user.
func explainOwner(path string, err error) error {
	if !errors.Is(err, fs.ErrPermission) && !slices.Contains([]int{sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN}, code(err)) {
		return err
	}
	for _, name := range []string{path, path + ".lock", path + "-wal", path + "-shm", filepath.Dir(path)} {
		if uid, other := foreignOwner(name); other {
			return fmt.Errorf("%w; %s belongs to the user with id %d, and this process runs as %d: run it as that user, or give the folder and all its files to this one (chown)", err, name, uid, os.Geteuid())
		}
	}
	return err
}

// foreignOwner reports whether a file belongs to another user, and returns that user's id.
func foreignOwner(name string) (uid uint32, other bool) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return s.Uid, ok && int(s.Uid) != os.Geteuid()
}

// giveToOwner gives a file that the superuser has created beside the journal to the journal's
// owner, who could not open it otherwise.
func giveToOwner(name, path string) error {
	info, err := os.Stat(path)
	if os.Geteuid() != 0 || err != nil {
		return nil //nolint:nilerr // there is no journal yet: it will belong to this user
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || s.Uid == 0 {
		return nil
	}
	return os.Chown(name, int(s.Uid), int(s.Gid))
}

// Warnings describe conditions that are permitted, but can lose the journal or prevent its
// worker from opening it.
func Warnings(path string) (words []string) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil
	}
	folder := filepath.Dir(path)
	if name := volatileFileSystem(folder); name != "" {
		words = append(words, fmt.Sprintf("the folder of the journal, %s, is on %s: its files, and every token in them, are lost when the machine or its container ends; use a disk or a volume", folder, name))
	}
	if info, err := os.Stat(folder); err == nil {
		switch mode := info.Mode(); {
		case mode.Perm()&0o002 != 0 && mode&fs.ModeSticky != 0:
			words = append(words, fmt.Sprintf("every user can create files in the folder of the journal, %s (mode %04o): use a folder of the worker's user with mode 0700", folder, mode.Perm()))
		case mode.Perm()&0o020 != 0 && !givenToGroup(info):
			words = append(words, fmt.Sprintf("the group can replace files in the folder of the journal, %s (mode %04o): chmod 700 it", folder, mode.Perm()))
		}
	}
	if uid, other := foreignOwner(path); other {
		words = append(words, fmt.Sprintf("the journal belongs to the user with id %d, and this process runs as %d: the other may be unable to open files that it creates", uid, os.Geteuid()))
	}
	return words
}
