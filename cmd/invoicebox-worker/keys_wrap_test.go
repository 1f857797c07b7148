package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/baotest"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// A keyset that is wrapped by a real server: a worker runs with it, keys are rotated,
// and nothing but ciphertext is on the disk.
func TestKeysWrapped(t *testing.T) {
	t.Parallel()
	s := baotest.Start(t)
	r := newRig(t, kafkatest.Embedded(t), calm())
	s.Write(t, "sys/mounts/transit", map[string]any{"type": "transit"})
	s.Write(t, "transit/keys/invoicebox-worker", map[string]any{"type": "aes256-gcm96"})
	rules, err := os.ReadFile(filepath.Join("..", "..", "deploy", "openbao", "policy-keyset.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	s.Policy(t, "keyset", string(rules))
	flags := []string{
		"--keyset-wrap", "transit/invoicebox-worker", "--vault-address", s.URL(), "--vault-ca-file", s.CAFile(),
		"--vault-token-file", r.write("vault-token", s.Token(t, "keyset", nil)),
	}
	command := func(words ...string) []string { return append(append(words, r.beside()...), flags...) }
	refused := func(words string, args ...string) {
		t.Helper()
		if code, _, errs := r.command(args...); code != exitFailed || !strings.Contains(errs, words) {
			t.Errorf("%v: %d %s", args[:2], code, errs)
		}
	}
	wrapped := func() {
		t.Helper()
		doc, err := os.ReadFile(r.path("keyset.json"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(doc, []byte("encryptedKeyset")) || bytes.Contains(doc, []byte("keyData")) {
			t.Errorf("the file holds\n%s", doc)
		}
	}
	// The file that the rig made is not wrapped.
	refused("keys wrap", command("keys", "list")...)
	r.must(command("keys", "wrap")...)
	wrapped()
	refused("--keyset-wrap", append([]string{"keys", "list"}, r.beside()...)...)
	made := with(command("keys", "create"), "--keyset-file", r.path("made.json"))
	r.must(made...)
	w := r.start(flags...)
	r.entered("shop-1", "code-1")
	event := r.results(schemas.TypeActivated, 1)[0].Data.(schemas.Activated)
	token := r.must(command("resolve", event.Credentials.Ref)...)
	old := r.must(command("keys", "rotate", "--wait", "40s")...)
	if !strings.Contains(old, "is the key for new rows") {
		t.Error(old)
	}
	wrapped()
	await(t, "the worker uses the changed file", func() bool {
		return strings.Count(w.log.String(), "the keys of the changed keyset file are in use") == 2
	})
	s.Write(t, "transit/keys/invoicebox-worker/rotate", nil)
	r.must(command("keys", "wrap", "--actor", "anna")...)
	if got := r.must(command("resolve", event.Credentials.Ref)...); got != token {
		t.Error("another token is resolved")
	}
	if !strings.Contains(r.audit(), "anna keys.wrap transit/invoicebox-worker") {
		t.Errorf("the audit trail:\n%s", r.audit())
	}
	// The worker goes on without the server; a start needs it.
	s.Seal(t)
	r.entered("shop-2", "code-2")
	r.results(schemas.TypeActivated, 2)
	if code := w.end(); code != exitDone {
		t.Error(code)
	}
	refused("sealed", append(append([]string{"run"}, r.service()...), flags...)...)
	s.Unseal(t)
	w = r.start(flags...)
	if code := w.end(); code != exitDone {
		t.Error(code)
	}
	refused("log in", append(append([]string{"keys", "list"}, r.beside()...), flags[:2]...)...)
	refused("must be set", append([]string{"keys", "wrap"}, r.beside()...)...)
	refused("server refuses", with(with(command("keys", "wrap"), "--keyset-wrap", "transit/invoicebox-worker"), "--keyset-file", tampered(t, r.path("made.json")))...)
}

// tampered changes a byte of a ciphertext in a file.
func tampered(t *testing.T, path string) string {
	t.Helper()
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := bytes.Cut(doc, []byte(`"encryptedKeyset":`))
	if !found {
		t.Fatalf("%s", doc)
	}
	at := len(doc) - len(rest) + 40
	if doc[at]++; doc[at] > 'z' || doc[at] == '[' || doc[at] == ':' {
		doc[at] = 'A'
	}
	if err := os.WriteFile(path, doc, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
