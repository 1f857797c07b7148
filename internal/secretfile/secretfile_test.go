package secretfile

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const marker = "m4rk3d-t0ken"

func write(t *testing.T, name, text string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenTakesOneTrailingLineBreakAway(t *testing.T) {
	for text, want := range map[string]string{
		"abc": "abc", "abc\n": "abc", "abc\r\n": "abc", "a b": "a b", "a:b/c+d=\n": "a:b/c+d=",
	} {
		f, err := Open("s", write(t, "s", text, 0o600), Key, nil)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := f.Get().Reveal(); got != want {
			t.Errorf("%q is read as %q, want %q", text, got, want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		name, path string
		want       error
	}{
		{"empty", write(t, "s", "", 0o600), ErrEmpty},
		{"only a line break", write(t, "s", "\n", 0o600), ErrEmpty},
		{"only spaces", write(t, "s", "  \n", 0o600), ErrEmpty},
		{"two line breaks", write(t, "s", marker+"\n\n", 0o600), ErrNotText},
		{"two lines", write(t, "s", marker+"\n"+marker, 0o600), ErrNotText},
		{"NUL", write(t, "s", marker+"\x00", 0o600), ErrNotText},
		{"not UTF-8", write(t, "s", marker+"\xff", 0o600), ErrNotText},
		{"large", write(t, "s", strings.Repeat(marker, 1000), 0o600), ErrTooLarge},
		{"group can read", write(t, "s", marker, 0o640), ErrPermissions},
		{"world can read", write(t, "s", marker, 0o604), ErrPermissions},
		{"group can write", write(t, "s", marker, 0o620), ErrPermissions},
		{"folder", t.TempDir(), ErrNotRegular},
		{"device", os.DevNull, ErrNotRegular},
		{"missing", missing, fs.ErrNotExist},
	} {
		f, err := Open("token-file", c.path, Token, nil)
		if !errors.Is(err, c.want) || f != nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
			continue
		}
		if !strings.Contains(err.Error(), c.path) || strings.Contains(err.Error(), marker) {
			t.Errorf("%s: the error must name the file and quote nothing of it: %v", c.name, err)
		}
	}
}

func TestGetFollowsTheFile(t *testing.T) {
	path := write(t, "s", "old", 0o600)
	now := time.Unix(1000, 0)
	var log bytes.Buffer
	f, err := open("token-file", path, Token, slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	replace := func(text string, mode fs.FileMode) {
		t.Helper()
		next := path + ".next"
		if err := os.WriteFile(next, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, path); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when, want string) {
		t.Helper()
		if got := f.Get().Reveal(); got != want {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}

	replace("new", 0o600)
	check("within a second", "old")
	now = now.Add(time.Second)
	check("a second later", "new")

	replace("", 0o600)
	now = now.Add(time.Second)
	check("an empty file", "new")
	now = now.Add(time.Second)
	check("still empty", "new")
	if n := strings.Count(log.String(), "a changed file is invalid"); n != 1 {
		t.Errorf("the trouble was logged %d times, want once:\n%s", n, log.String())
	}

	replace(marker, 0o644)
	now = now.Add(time.Second)
	check("open to the world", "new")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	check("removed", "new")

	replace("last", 0o600)
	now = now.Add(-time.Hour) // a clock step must not keep the old secret for an hour
	check("after the clock went back", "last")
	if strings.Contains(log.String(), marker) {
		t.Errorf("the log quotes a file:\n%s", log.String())
	}
}

func FuzzTrim(f *testing.F) {
	for _, s := range []string{"", "\n", "a", "a\n", "a\r\n", "a\n\n", "\x00", "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		value, err := Trim(doc)
		if err != nil {
			if !value.IsZero() {
				t.Error("a refused file gave a secret")
			}
			return
		}
		text := value.Reveal()
		if text == "" || strings.ContainsAny(text, "\n\r\x00") || !bytes.HasPrefix(doc, []byte(text)) || len(doc)-len(text) > 2 {
			t.Errorf("%q became %q", doc, text)
		}
	})
}
