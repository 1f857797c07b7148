package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/baotest"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
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
	t.Parallel()
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

// Two accounts keep their secrets in two stores. Each event names its account's store,
// resolve and the endpoint read both, and a server that is sealed holds up its own
// account only.
func TestOpenBao_StorePerAccount(t *testing.T) {
	t.Parallel()
	s := baotest.Start(t)
	o := calm()
	o.Accounts = []sandbox.Account{{PartnerID: "partner-1", Token: "MARKED-token-1"}, {PartnerID: "partner-2", Token: "MARKED-token-2"}}
	r := newRig(t, kafkatest.Embedded(t), o)
	r.config = r.write("accounts.yaml", fmt.Sprintf(`accounts:
- {name: default, partner-id: partner-1, token-file: %q}
- {name: second, partner-id: partner-2, token-file: %q, credentials-store: openbao}
`, r.write("token-1", "MARKED-token-1\n"), r.write("token-2", "MARKED-token-2\n")))
	r.write("caller", callerToken+"\n")
	callers := r.write("callers.yaml", "callers: [{name: billing, token-file: "+r.path("caller")+", allow: [invoicebox/*]}]")

	if code, _, errs := r.command(append([]string{"run"}, r.service()...)...); code != exitFailed || !strings.Contains(errs, "accounts[1].credentials-store") {
		t.Errorf("without a log-in: exit status %d, %s", code, errs)
	}
	flags := r.vaultFlags(s)
	_, out, _ := r.command(append(append([]string{"check"}, r.service()...), flags...)...)
	for _, words := range []string{"takes secrets of second at", "could take secrets, which are sealed in the journal instead, of default at"} {
		if !strings.Contains(out, words) {
			t.Errorf("check does not say %q:\n%s", words, out)
		}
	}
	w := r.start(append(flags, "--credentials-listen", "127.0.0.1:0", "--credentials-callers-file", callers)...)
	address := credentialsWord.FindStringSubmatch(w.log.String())[1]
	enter := func(account, shop string) {
		r.send(schemas.TypeCodeEntered, "entered-"+account+shop, shop, fmt.Sprintf(`{"shopId":%q,"activationCode":%q,"partnerAccount":%q}`, shop, account+shop, account))
	}
	enter("default", "shop-1")
	enter("second", "shop-1")
	beside := append(r.beside(), flags...)
	for _, e := range r.results(schemas.TypeActivated, 2) {
		d := e.Data.(schemas.Activated)
		want := map[string]string{"default": schemas.StoreSealed, "second": schemas.StoreOpenBao}[d.PartnerAccount]
		if d.Credentials.Store != want || !strings.HasPrefix(d.Credentials.Ref, "ref+"+want+"://") {
			t.Errorf("account %s: the event refers to %+v, want the store %s", d.PartnerAccount, d.Credentials, want)
		}
		token := r.sandbox.TokenOf(d.PartnerAccount + "shop-1")
		if out := r.must(append([]string{"resolve", d.Credentials.Ref}, beside...)...); strings.TrimSpace(out) != token {
			t.Errorf("account %s: resolve gives another token", d.PartnerAccount)
		}
		if status, body := readCredentials(t, address, callerToken, d.Credentials.Ref); status != http.StatusOK || !strings.Contains(body, `"token":"`+token+`"`) {
			t.Errorf("account %s: the endpoint answers %d", d.PartnerAccount, status)
		}
	}
	s.Seal(t)
	enter("second", "shop-2")
	await(t, "the code of the second account waits for its store", func() bool {
		return strings.Contains(w.log.String(), "the credential store is not ready; the code is not sent")
	})
	enter("default", "shop-2")
	for _, e := range r.results(schemas.TypeActivated, 3) {
		if d := e.Data.(schemas.Activated); d.PartnerAccount == "second" && d.ShopID == "shop-2" {
			t.Error("the second account's shop was activated while its store was sealed")
		}
	}
	if n := len(r.sandbox.Effects().Activations); n != 3 {
		t.Errorf("%d codes were sent, want 3", n)
	}
	s.Unseal(t)
	r.results(schemas.TypeActivated, 4)
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
}
