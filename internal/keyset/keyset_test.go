package keyset_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secretfile"
)

func TestCreateThenLoadOpensTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	made, err := keyset.File{Path: path}.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := keyset.File{Path: path}.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := made.Seal([]byte("token"), "row")
	if err != nil {
		t.Fatal(err)
	}
	text, err := loaded.Open(sealed, "row")
	if err != nil || string(text) != "token" {
		t.Fatalf("Open = %q, %v", text, err)
	}
	a, _ := made.MAC("d", []byte("x"))
	b, _ := loaded.MAC("d", []byte("x"))
	if !bytes.Equal(a, b) || len(a) != keyset.MACSize {
		t.Fatalf("digests differ after a reload: %x %x", a, b)
	}
	key, err := keyset.SealingKey(sealed)
	if primary, _ := loaded.PrimaryKeys(); err != nil || key != primary {
		t.Fatalf("SealingKey = %d, %v; want %d", key, err, primary)
	}
	info, _ := os.Stat(path)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v", info.Mode())
	}
	if _, err := (keyset.File{Path: path}).Create(t.Context()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second Create over the file: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	s, other := newSet(t), newSet(t)
	sealed, err := s.Seal([]byte("text"), keyset.AssociatedData("receipt", "1"))
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(sealed)
	damaged[len(damaged)-1] ^= 1
	for name, open := range map[string]func() ([]byte, error){
		"another row":    func() ([]byte, error) { return s.Open(sealed, keyset.AssociatedData("receipt", "2")) },
		"another keyset": func() ([]byte, error) { return other.Open(sealed, keyset.AssociatedData("receipt", "1")) },
		"damaged":        func() ([]byte, error) { return s.Open(damaged, keyset.AssociatedData("receipt", "1")) },
		"short":          func() ([]byte, error) { return s.Open(sealed[:4], keyset.AssociatedData("receipt", "1")) },
		"empty":          func() ([]byte, error) { return s.Open(nil, keyset.AssociatedData("receipt", "1")) },
	} {
		if text, err := open(); !errors.Is(err, keyset.ErrOpen) || text != nil {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

func TestDomainsAreApart(t *testing.T) {
	s := newSet(t)
	a, _ := s.MAC(keyset.DomainCode, []byte("same"))
	b, _ := s.MAC(keyset.DomainAddress, []byte("same"))
	c, _ := newSet(t).MAC(keyset.DomainCode, []byte("same"))
	if bytes.Equal(a, b) || bytes.Equal(a, c) {
		t.Error("digests of two domains or two keysets are equal")
	}
}

func TestLoadRefusesWithoutQuotingTheFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, doc string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	good := filepath.Join(dir, "good.json")
	if _, err := (keyset.File{Path: good}).Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	const marker = "s3cr3tmarker"
	for name, path := range map[string]string{
		"empty":     write("empty", "", 0o600),
		"not json":  write("text", marker, 0o600),
		"shape":     write("shape", `{"sealing":{"key":"`+marker+`"},"lookup":{}}`, 0o600),
		"unknown":   write("unknown", `{"`+marker+`":1}`, 0o600),
		"huge":      write("huge", strings.Repeat(marker, 1<<17), 0o600),
		"readable":  write("readable", string(doc), 0o644),
		"missing":   filepath.Join(dir, "missing"),
		"directory": dir,
	} {
		s, err := keyset.File{Path: path}.Load(t.Context())
		if err == nil || s != nil {
			t.Errorf("%s: loaded", name)
			continue
		}
		if strings.Contains(err.Error(), marker) {
			t.Errorf("%s: the error quotes the file: %v", name, err)
		}
	}
	if _, err := (keyset.File{Path: write("group", string(doc), 0o640)}).Load(t.Context()); !errors.Is(err, secretfile.ErrPermissions) {
		t.Errorf("a group-readable file: %v", err)
	}
	if _, err := (keyset.File{Path: filepath.Join(dir, "missing")}).Load(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func FuzzRowIsInjective(f *testing.F) {
	f.Add("a/b", "c", "a", "b/c")
	f.Add("a%2Fb", "c", "a/b", "c")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		if keyset.AssociatedData("w", a, b) == keyset.AssociatedData("w", c, d) && (a != c || b != d) {
			t.Errorf("two rows, one name: %q %q and %q %q", a, b, c, d)
		}
	})
}

func newSet(t *testing.T) *keyset.Set {
	t.Helper()
	s, err := keyset.New()
	if err != nil {
		t.Fatal(err)
	}
	return s
}
