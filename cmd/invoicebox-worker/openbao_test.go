package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/baotest"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// vaultFlags are the settings for a server: AppRole, with the policy of deploy/.
func (r *rig) vaultFlags(s *baotest.Server) []string {
	r.t.Helper()
	rules, err := os.ReadFile(filepath.Join("..", "..", "deploy", "openbao", "policy.hcl"))
	if err != nil {
		r.t.Fatal(err)
	}
	s.Policy(r.t, "invoicebox-worker", string(rules))
	roleID, secretID := s.AppRole(r.t, "invoicebox-worker", nil)
	return []string{
		"--vault-address", s.URL(), "--vault-ca-file", s.CAFile(),
		"--vault-role-id-file", r.write("role-id", roleID), "--vault-secret-id-file", r.write("secret-id", secretID+"\n"),
	}
}

func contentOf(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A shop is activated, and its secret is in a real server: what an event refers to is
// found there by resolve, and by whoever reads the path. A sealed server costs no code.
func TestOpenBao(t *testing.T) {
	s := baotest.Start(t)
	r := newRig(t, kafkatest.Embedded(t), calm())
	flags := append(r.vaultFlags(s), "--credentials-store", "openbao")
	check := append(append([]string{"check"}, r.service()...), flags...)
	if _, out, _ := r.command(check...); !strings.Contains(out, "store        ok") {
		t.Errorf("check says nothing of the store:\n%s", out)
	}
	if left := s.Read(t, baotest.Mount+"/metadata/invoicebox?list=true"); left != nil {
		t.Errorf("check left something behind: %v", left.Data)
	}
	w := r.start(flags...)
	const shop = "shop/1 ü"
	r.entered(shop, "code-1")
	event := r.results(schemas.TypeActivated, 1)[0].Data.(schemas.Activated)
	ref, err := schemas.ParseReference(event.Credentials.Ref)
	if err != nil || ref.Store != schemas.StoreOpenBao || ref.Version != 1 || event.Credentials.Version != 1 || event.Credentials.Key != ref.Key() {
		t.Fatalf("the event refers to %+v: %v", event.Credentials, err)
	}
	token, merchant := r.sandbox.TokenOf("code-1"), r.sandbox.MerchantOf("code-1")
	data := s.Read(t, strings.Replace(ref.Key(), baotest.Mount+"/", baotest.Mount+"/data/", 1)).Data["data"].(map[string]any)
	if data["token"] != token || data["merchantId"] != merchant || data["shopId"] != shop || data["account"] != "default" {
		t.Error("the server has another secret")
	}
	beside := append(r.beside(), flags[:8]...)
	if out := r.must(append([]string{"resolve", event.Credentials.Ref + "#/token"}, beside...)...); strings.TrimSpace(out) != token {
		t.Error("resolve gives another token")
	}

	s.Seal(t)
	r.entered("shop-2", "code-2")
	await(t, "the code waits for the store", func() bool {
		return strings.Contains(w.log.String(), "the credential store is not ready; the code is not sent")
	})
	if n := len(r.sandbox.Effects().Activations); n != 1 {
		t.Errorf("%d codes were sent while the store was sealed", n)
	}
	s.Unseal(t)
	r.results(schemas.TypeActivated, 2)
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
	for name, text := range map[string]string{"the log": w.log.String(), "the server's log": contentOf(t, s.Log()), "the audit log": contentOf(t, s.AuditLog())} {
		for _, secret := range []string{token, r.sandbox.TokenOf("code-2"), contentOf(t, r.path("secret-id"))} {
			if strings.Contains(text, strings.TrimSpace(secret)) {
				t.Errorf("%s holds a secret", name)
			}
		}
	}
}
