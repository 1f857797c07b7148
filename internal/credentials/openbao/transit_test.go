package openbao_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"invoicebox-worker/internal/credentials/openbao"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/baotest"
)

// A keyset that a real server wraps: created, read, changed, wrapped again with a newer
// version of the key; with the policy of deploy/.
func TestTransit(t *testing.T) {
	t.Parallel()
	s := baotest.Start(t)
	s.Write(t, "sys/mounts/transit", map[string]any{"type": "transit"})
	for _, name := range []string{"invoicebox-worker", "other"} {
		s.Write(t, "transit/keys/"+name, map[string]any{"type": "aes256-gcm96"})
	}
	rules, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", "openbao", "policy-keyset.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	s.Policy(t, "keyset", string(rules))
	token := s.Token(t, "keyset", nil)
	transit := func(key string) *openbao.Transit {
		w, err := openbao.NewTransit(openbao.Config{Address: s.URL(), CAFile: s.CAFile(), Login: openbao.WithToken(given(token))}, key)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	path := filepath.Join(t.TempDir(), "keys.json")
	file := keyset.File{Path: path, Wrap: transit("transit/invoicebox-worker")}
	made, err := file.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := made.Seal([]byte("text"), "row")
	if err != nil {
		t.Fatal(err)
	}
	opens := func() {
		t.Helper()
		got, err := file.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if text, err := got.Open(sealed, "row"); err != nil || string(text) != "text" {
			t.Error(err)
		}
	}
	opens()
	read := func() []byte {
		doc, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
	if doc := read(); !bytes.Contains(doc, []byte("encryptedKeyset")) || bytes.Contains(doc, []byte("keyData")) {
		t.Errorf("the file holds\n%s", doc)
	}
	// The key is rotated on the server, and the file is wrapped again.
	s.Write(t, "transit/keys/invoicebox-worker/rotate", nil)
	opens()
	before := read()
	c, err := file.Change(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Write(t.Context(), c.Set(), file.Wrap); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(before, read()) {
		t.Error("the file was not wrapped again")
	}
	s.Write(t, "transit/keys/invoicebox-worker/config", map[string]any{"min_decryption_version": 2})
	opens()
	now := read()
	if err := os.WriteFile(path, before, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Load(t.Context()); !errors.Is(err, keyset.ErrWrapper) {
		t.Errorf("with a version that the server refuses: %v", err)
	}
	if err := os.WriteFile(path, now, 0o600); err != nil {
		t.Fatal(err)
	}
	// The worker's token may use this key alone.
	if _, err := (keyset.File{Path: path + ".other", Wrap: transit("transit/other")}).Create(t.Context()); !errors.Is(err, keyset.ErrWrapper) {
		t.Errorf("with a key that the policy does not name: %v", err)
	}
	s.Seal(t)
	if _, err := file.Load(t.Context()); !errors.Is(err, keyset.ErrWrapper) {
		t.Errorf("while the server is sealed: %v", err)
	}
	s.Unseal(t)
	opens()
	log, err := os.ReadFile(s.AuditLog())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(log, []byte("transit/decrypt/invoicebox-worker")) {
		t.Error("the server's audit log has no entry")
	}
	for _, key := range []string{"", "transit", "/key", "transit/"} {
		if _, err := openbao.NewTransit(openbao.Config{}, key); err == nil || !strings.Contains(err.Error(), "MOUNT/KEY") {
			t.Errorf("%q: %v", key, err)
		}
	}
}
