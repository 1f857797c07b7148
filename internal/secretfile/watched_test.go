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

// shapes are what people and programs leave in secret files.
var shapes = []struct {
	name, text string
	key, token error
}{
	{"plain", marker, nil, nil},
	{"a line break", marker + "\r\n", nil, nil},
	{"punctuation", "a:b/c+d==.~_-", nil, nil},
	{"letters of another alphabet", "пароль", nil, ErrNotHeader},
	{"a space inside", "pass word", nil, ErrNotHeader},
	{"a space behind", marker + " \n", ErrSpace, ErrSpace},
	{"a space in front", " " + marker, ErrSpace, ErrSpace},
	{"a no-break space behind", marker + "\u00a0", ErrSpace, ErrSpace},
	{"a zero-width space behind", marker + "\u200b\n", ErrSpace, ErrSpace},
	{"a byte order mark", "\xef\xbb\xbf" + marker, ErrByteOrderMark, ErrByteOrderMark},
	{"a byte order mark behind", marker + "\ufeff", ErrSpace, ErrSpace},
	{"UTF-16", "\xff\xfea\x00b\x00", ErrNotText, ErrNotText},
	{"Bearer", "Bearer " + marker, nil, ErrPrefix},
	{"bearer in small letters", "bearer " + marker + "\n", nil, ErrPrefix},
	{"a whole header", "Authorization: Bearer " + marker, nil, ErrPrefix},
	{"a tab", marker + "\tx", ErrNotText, ErrNotText},
	{"two lines", marker + "\n" + marker, ErrNotText, ErrNotText},
}

// The same is refused at the start and at a change.
func TestForms(t *testing.T) {
	for _, c := range shapes {
		for name, form := range map[string]struct {
			form Form
			want error
		}{"key": {Key, c.key}, "token": {Token, c.token}} {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				f, err := Open("token-file", write(t, "s", c.text, 0o600), form.form, nil)
				if !errors.Is(err, form.want) || (f == nil) != (form.want != nil) {
					t.Errorf("at the start: %v, want %v", err, form.want)
				}
				path, now := write(t, "s", "good", 0o600), time.Unix(1000, 0)
				var log bytes.Buffer
				f, err = open("token-file", path, form.form, slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return now })
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path+".next", []byte(c.text), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(path+".next", path); err != nil {
					t.Fatal(err)
				}
				for range 3 {
					now = now.Add(time.Second)
					if got := f.Get().Reveal(); (got == "good") != (form.want != nil) {
						t.Errorf("after the change the secret is %q", got)
					}
				}
				if err := f.Look(); !errors.Is(err, form.want) {
					t.Errorf("after the change: %v, want %v", err, form.want)
				}
				lines := strings.Count(log.String(), "level=ERROR")
				if (lines == 1) != (form.want != nil) || strings.Contains(log.String(), marker) {
					t.Errorf("the log:\n%s", log.String())
				}
				if lines == 1 && (!strings.Contains(log.String(), "setting=token-file") || !strings.Contains(log.String(), path)) {
					t.Errorf("the log does not name setting and file:\n%s", log.String())
				}
			})
		}
	}
}

func TestOpenDistinct(t *testing.T) {
	files := map[string]*File{}
	others := func() map[string]*File { return files }
	first, second := write(t, "a", "one", 0o600), write(t, "b", "two", 0o600)
	for setting, path := range map[string]string{"first": first, "second": second} {
		f, err := OpenDistinct(setting, path, Token, nil, others)
		if err != nil {
			t.Fatal(err)
		}
		files[setting] = f
	}
	if _, err := OpenDistinct("third", write(t, "c", "two\n", 0o600), Token, nil, others); err == nil || !strings.Contains(err.Error(), "the token of second") {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(second, []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	files["second"].looked = time.Time{}
	if got := files["second"].Get().Reveal(); got != "two" || files["second"].Look() == nil {
		t.Errorf("it took %q: %v", got, files["second"].Look())
	}
}

// What several files hold together is read again when one of them changes, and
// the last that fitted stays.
func TestWatched(t *testing.T) {
	dir, now := t.TempDir(), time.Unix(1000, 0)
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	put := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
	}
	put(a, "1")
	put(b, "1")
	load := func() (string, error) {
		x, err := os.ReadFile(a)
		if err != nil {
			return "", err
		}
		y, err := os.ReadFile(b)
		if err == nil && !bytes.Equal(x, y) {
			err = errors.New("a and b do not fit")
		}
		return string(x), err
	}
	for _, use := range []Use{AtOnce, AtNextStart} {
		put(a, "1")
		put(b, "1")
		var log bytes.Buffer
		w, err := watch("pair", use, slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return now }, load, a, b)
		if err != nil {
			t.Fatal(err)
		}
		check := func(when, want string, wrong bool) {
			t.Helper()
			if use == AtNextStart {
				want = "1"
			}
			if got, err := w.Get(), w.Look(); got != want || (err != nil) != wrong {
				t.Errorf("%s: %q %v", when, got, err)
			}
		}
		put(a, "22")
		check("one is changed", "1", true)
		put(b, "22")
		check("both are", "22", false)
		if err := os.Rename(a, a+".away"); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
		check("one is away", "22", true)
		if err := os.Rename(a+".away", a); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
		check("it is back", "22", false)
		if n := strings.Count(log.String(), "level=ERROR"); n != 2 || !strings.Contains(log.String(), "is valid again") {
			t.Errorf("%d errors in the log:\n%s", n, log.String())
		}
		if next := strings.Contains(log.String(), "next start"); next != (use == AtNextStart) {
			t.Errorf("the log of use %d:\n%s", use, log.String())
		}
	}
	if _, err := Watch("pair", AtOnce, nil, load, a, filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}
