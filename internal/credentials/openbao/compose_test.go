package openbao_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"invoicebox-worker/internal/credentials/openbao"
	"invoicebox-worker/internal/testutil/baotest"
	"invoicebox-worker/internal/testutil/freeport"
)

// The configuration of deploy/compose starts a server that initializes itself, unseals
// itself again after a restart, and takes the worker's secrets.
func TestComposeConfiguration(t *testing.T) {
	t.Parallel()
	deploy, err := filepath.Abs("../../../deploy")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join(deploy, "compose", "openbao.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	folder, address := t.TempDir(), freeport.Address(t)
	files := map[string]string{"openbao-seal.key": strings.Repeat("k", 32), "openbao-role-id": "role-id-0123456789", "openbao-secret-id": "secret-id-0123456789"}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(folder, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := baotest.StartSelf(t, strings.NewReplacer(
		"127.0.0.1:8200", address, "127.0.0.1:8201", freeport.Address(t), "/openbao/file", filepath.Join(folder, "data"),
		"/openbao/policy.hcl", filepath.Join(deploy, "openbao", "policy.hcl"), "/run/secrets", folder,
	).Replace(string(doc)), address)
	store, err := openbao.New(openbao.Config{
		Name: "openbao", Address: s.URL(), Mount: baotest.Mount, Keys: newKeys(t),
		Login: openbao.WithAppRole("", given(files["openbao-role-id"]), given(files["openbao-secret-id"])),
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := store.Prepare(t.Context(), sample())
	if err != nil {
		t.Fatal(err)
	}
	s.Down(syscall.SIGTERM)
	s.Up(t)
	if got, err := store.Read(t.Context(), p.Row); err != nil || !got.Token.Equal(sample().Token) {
		t.Errorf("after a restart: %v", err)
	}
}
