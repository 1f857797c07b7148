//go:build unix

package secretfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A file that Kubernetes mounts with fsGroup is the superuser's, and a group of this process
// can read it.
func TestPrivate(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	const uid, gid = 54321, 54322
	for name, c := range map[string]struct {
		owner int
		mode  fs.FileMode
		want  bool
	}{
		"own":                         {uid, 0o600, true},
		"own, group can read":         {uid, 0o640, false},
		"root's, group can read":      {0, 0o440, true},
		"root's, group can write":     {0, 0o460, false},
		"root's, world can read":      {0, 0o444, false},
		"another's, group can read":   {uid + 1, 0o440, false},
		"root's, group can execute":   {0, 0o450, false},
		"root's, closed to the group": {0, 0o400, true},
	} {
		path := filepath.Join(t.TempDir(), "s")
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, c.owner, gid); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := as(t, uid, func() bool { return private(info) }); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
		if c.owner == 0 && c.mode.Perm()&0o077 != 0 && private(info) {
			t.Errorf("%s: root itself needs no group", name)
		}
	}
}

// as calls f as another user.
func as(t *testing.T, uid int, f func() bool) bool {
	t.Helper()
	if err := syscall.Seteuid(uid); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Seteuid(0); err != nil {
			t.Fatal(err)
		}
	}()
	return f()
}

// A Secret that Kubernetes replaces is a folder behind a symbolic link that another takes
// the place of.
func TestGetFollowsSymbolicLinks(t *testing.T) {
	folder := t.TempDir()
	project := func(version, text string) {
		t.Helper()
		data := filepath.Join(folder, version)
		if err := os.Mkdir(data, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(data, "token"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(version, filepath.Join(folder, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	project("..1", "old")
	path := filepath.Join(folder, "token")
	if err := os.Symlink("..data/token", path); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	f, err := open("token-file", path, Token, nil, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	project("..2", "new")
	now = now.Add(lookEvery)
	if got := f.Get().Reveal(); got != "new" {
		t.Errorf("after the swap: %q", got)
	}
}
