package keyset_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"invoicebox-worker/internal/keyset"
)

func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	if _, err := (keyset.File{Path: path}).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	change := func(f func(*keyset.Set) (*keyset.Set, error)) *keyset.Set {
		t.Helper()
		c, err := keyset.File{Path: path}.Change(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		next, err := f(c.Set())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Write(t.Context(), next, nil); err != nil {
			t.Fatal(err)
		}
		got, err := keyset.File{Path: path}.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, p := range []keyset.Purpose{keyset.Sealing, keyset.Lookup} {
		old, err := keyset.File{Path: path}.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		was := primaryOf(old, p)
		sealed, err := old.Seal([]byte("text"), "row")
		if err != nil {
			t.Fatal(err)
		}
		mac, err := old.MAC("d", []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		var id keyset.KeyID
		added := change(func(s *keyset.Set) (next *keyset.Set, err error) {
			next, id, err = s.With(p)
			return next, err
		})
		if primaryOf(added, p) != was || stateOf(added, p, id) != keyset.Added {
			t.Errorf("after it was added: %v", added.List())
		}
		promoted := change(func(s *keyset.Set) (*keyset.Set, error) { return s.Promoted(p, id) })
		if primaryOf(promoted, p) != id || stateOf(promoted, p, was) != keyset.Old {
			t.Errorf("after it was promoted: %v", promoted.List())
		}
		if text, err := promoted.Open(sealed, "row"); err != nil || string(text) != "text" {
			t.Error("the old key does not open:", err)
		}
		if macs, err := promoted.MACs("d", []byte("x")); err != nil || !keyset.SameMAC(macs, mac) {
			t.Error("the old key does not find:", err)
		}
		if _, err := promoted.Without(p, id); !errors.Is(err, keyset.ErrPrimaryKey) {
			t.Errorf("the primary key can be dropped: %v", err)
		}
		dropped := change(func(s *keyset.Set) (*keyset.Set, error) { return s.Without(p, was) })
		if stateOf(dropped, p, was) != "" || primaryOf(dropped, p) != id {
			t.Errorf("after the old one was dropped: %v", dropped.List())
		}
		if _, err := dropped.Promoted(p, was); !errors.Is(err, keyset.ErrUnknownKey) {
			t.Error(err)
		}
		if _, err := dropped.Without(p, was); !errors.Is(err, keyset.ErrUnknownKey) {
			t.Error(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	if rest, _ := filepath.Glob(path + ".*"); len(rest) > 0 {
		t.Error("left behind:", rest)
	}
}

func primaryOf(s *keyset.Set, p keyset.Purpose) keyset.KeyID {
	sealing, lookup := s.PrimaryKeys()
	if p == keyset.Sealing {
		return sealing
	}
	return lookup
}

func stateOf(s *keyset.Set, p keyset.Purpose, id keyset.KeyID) keyset.State {
	for _, k := range s.List() {
		if k.Purpose == p && k.ID == id {
			return k.State
		}
	}
	return ""
}

// A set that others use gets other keys at once, and so do the sets bound to journals.
func TestReplace(t *testing.T) {
	s := newSet(t)
	bound := s.Bind("journal")
	sealed, err := bound.Seal([]byte("text"), "row")
	if err != nil {
		t.Fatal(err)
	}
	next, id, err := s.With(keyset.Sealing)
	if err != nil {
		t.Fatal(err)
	}
	if next, err = next.Promoted(keyset.Sealing, id); err != nil {
		t.Fatal(err)
	}
	s.Replace(next)
	again, err := bound.Seal([]byte("text"), "row")
	if err != nil {
		t.Fatal(err)
	}
	if key, err := keyset.SealingKey(again); err != nil || key != id {
		t.Errorf("sealed with %08x, %v; want %08x", key, err, id)
	}
	if _, err := bound.Open(sealed, "row"); err != nil {
		t.Error(err)
	}
	var all sync.WaitGroup
	defer all.Wait()
	for range 4 {
		all.Go(func() {
			for range 100 {
				s.Replace(next)
				if _, err := bound.Open(again, "row"); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestChangesExcludeEachOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	if _, err := (keyset.File{Path: path}).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	link := path + ".link"
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	file := keyset.File{Path: link}
	c, err := file.Change(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Change(t.Context()); !errors.Is(err, keyset.ErrChanged) {
		t.Error("two changes at once:", err)
	}
	// One whose process was killed is not in the way for ever.
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path+".next", long, long); err != nil {
		t.Fatal(err)
	}
	second, err := file.Change(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next, _, err := second.Set().With(keyset.Sealing)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Write(t.Context(), next, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Write(t.Context(), c.Set(), nil); !errors.Is(err, keyset.ErrChanged) {
		t.Error("a file that was changed is replaced:", err)
	}
	got, err := keyset.File{Path: path}.Load(t.Context())
	if err != nil || len(got.List()) != 3 {
		t.Error(got.List(), err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Error("the link was replaced:", err)
	}
}

// wrapper wraps with another set.
type wrapper struct {
	keys *keyset.Set
	err  error
}

func (w *wrapper) Name() string { return "transit/test" }
func (w *wrapper) EncryptWithContext(_ context.Context, text, bound []byte) ([]byte, error) {
	if w.err != nil {
		return nil, w.err
	}
	return w.keys.Seal(text, string(bound))
}
func (w *wrapper) DecryptWithContext(_ context.Context, text, bound []byte) ([]byte, error) {
	if w.err != nil {
		return nil, w.err
	}
	return w.keys.Open(text, string(bound))
}

func TestWrapped(t *testing.T) {
	path, w := filepath.Join(t.TempDir(), "keys.json"), &wrapper{keys: newSet(t)}
	file := keyset.File{Path: path, Wrap: w}
	made, err := file.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := made.Seal([]byte("text"), "row")
	if err != nil {
		t.Fatal(err)
	}
	got, err := file.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := got.Open(sealed, "row"); err != nil {
		t.Error(err)
	}
	if _, err := (keyset.File{Path: path}).Load(t.Context()); !errors.Is(err, keyset.ErrWrapped) || !strings.Contains(err.Error(), "transit/test") {
		t.Error("without the wrapper:", err)
	}
	wrapped, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Nothing of the keys stands in the file: what it says without the wrapper is
	// which keys there are.
	plain := path + ".plain"
	c, err := file.Change(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Write(t.Context(), c.Set(), nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, plain); err != nil {
		t.Fatal(err)
	}
	open, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	secrets := 0
	for part := range bytes.SplitSeq(open, []byte(`"`)) {
		if len(part) > 40 && !bytes.HasPrefix(part, []byte("type.googleapis.com")) {
			secrets++
			if bytes.Contains(wrapped, part) {
				t.Errorf("the wrapped file holds %q", part)
			}
		}
	}
	if secrets != 2 {
		t.Errorf("%d secrets stand in the file that is not wrapped", secrets)
	}
	if _, err := (keyset.File{Path: plain, Wrap: w}).Load(t.Context()); !errors.Is(err, keyset.ErrNotWrapped) {
		t.Error("one that is not wrapped:", err)
	}
	for name, doc := range map[string][]byte{
		"swapped": bytes.ReplaceAll(bytes.ReplaceAll(bytes.ReplaceAll(wrapped, []byte(`"sealing"`), []byte(`"x"`)), []byte(`"lookup"`), []byte(`"sealing"`)), []byte(`"x"`), []byte(`"lookup"`)),
		"renamed": bytes.Replace(wrapped, []byte("transit/test"), []byte("transit/best"), 1),
	} {
		if err := os.WriteFile(path, doc, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := file.Load(t.Context()); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
	if err := os.WriteFile(path, wrapped, 0o600); err != nil {
		t.Fatal(err)
	}
	w.err = errors.New("sealed")
	if _, err := file.Load(t.Context()); !errors.Is(err, keyset.ErrWrapper) || !errors.Is(err, w.err) {
		t.Error("the wrapper is away:", err)
	}
	if _, err := file.Change(t.Context()); !errors.Is(err, w.err) {
		t.Error(err)
	}
	if _, err := (keyset.File{Path: path + ".new", Wrap: w}).Create(t.Context()); !errors.Is(err, w.err) {
		t.Error(err)
	}
	if rest, _ := filepath.Glob(path + ".n*"); len(rest) > 0 {
		t.Error("left behind:", rest)
	}
}
