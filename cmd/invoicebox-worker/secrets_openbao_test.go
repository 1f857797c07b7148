package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/baotest"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

const (
	markCaller   = "mArk:caller/t0ken+abcdefgh="
	markNoCaller = "mArk:nobody/t0ken+abcdefgh="
	markSecond   = "mArk:second/t0ken+<uvw>&\"="
	markRotation = "mArk/code+second&3"
)

// A shop is activated twice with marked tokens, which callers read at the endpoint and by
// command. No byte of a secret is in what the worker and its endpoint say, in the audit
// trail and its export, in the requests, the audit log and the storage of a real OpenBao.
func TestNoSecretAnywhere_OpenBao(t *testing.T) {
	t.Parallel()
	s := baotest.Start(t)
	o := calm()
	o.Accounts = []sandbox.Account{{PartnerID: sandbox.DefaultPartnerID, Token: markPartner}}
	r := newRig(t, kafkatest.Embedded(t), o)
	for code, token := range map[string]string{markCode: markToken, markRotation: markSecond} {
		if err := r.sandbox.AddCode(sandbox.Code{Code: code, MerchantID: "merchant-1", Token: token, PartnerID: sandbox.DefaultPartnerID}); err != nil {
			t.Fatal(err)
		}
	}
	r.write("caller", markCaller+"\n")
	callers := r.write("callers.yaml", "callers: [{name: billing, token-file: "+r.path("caller")+", allow: [invoicebox/default/s1]}]")
	flags := r.vaultFlags(s)
	w := r.start(append(flags, "--credentials-store", "openbao", "--credentials-listen", "127.0.0.1:0", "--credentials-callers-file", callers)...)
	address := credentialsWord.FindStringSubmatch(w.log.String())[1]
	r.entered("s1", markCode)
	first := r.results(schemas.TypeActivated, 1)[0].Data.(schemas.Activated).Credentials.Ref
	r.send(schemas.TypeCodeEntered, "second-s1", "s1", fmt.Sprintf(`{"shopId":"s1","activationCode":%q}`, markRotation))
	second := r.results(schemas.TypeActivated, 2)[1].Data.(schemas.Activated).Credentials.Ref

	said := map[string][]byte{}
	for _, ask := range []struct {
		name, token, ref string
		status           int
	}{
		{"replaced", markCaller, first, http.StatusGone},
		{"another shop", markCaller, strings.Replace(second, "s1", "s2", 1), http.StatusNotFound},
		{"secrets in the query", markCaller, markCaller + markSecond, http.StatusBadRequest},
		{"nobody", markNoCaller, second, http.StatusUnauthorized},
	} {
		status, body := readCredentials(t, address, ask.token, ask.ref)
		if status != ask.status {
			t.Errorf("%s: status %d, want %d: %s", ask.name, status, ask.status, body)
		}
		said["response, "+ask.name] = []byte(body)
	}
	status, body := readCredentials(t, address, markCaller, second)
	if status != http.StatusOK || !strings.Contains(body, `"merchantId":"merchant-1"`) {
		t.Errorf("the endpoint answers %d", status)
	}
	beside := append(r.beside(), flags...)
	if out := r.must(append([]string{"resolve", second, "--reason", "test"}, beside...)...); out != markSecond+"\n" {
		t.Error("resolve gives another token")
	}

	_, metrics := w.get("/metrics")
	said["metrics"] = []byte(metrics)
	for _, args := range [][]string{{"audit", "list"}, {"audit", "list", "--output", "json"}, {"audit", "export"}, {"audit", "verify"}} {
		said[strings.Join(args, " ")] = []byte(r.must(append(args, "--journal-url", r.journal)...))
	}
	for name, doc := range r.bundle("bundle.tar.gz", w.addr, flags...) {
		said["bundle, "+name] = doc
	}
	r.read(said, "running ")
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
	s.Seal(t) // it writes what it holds
	said["log"] = []byte(w.log.String())
	said["OpenBao's log"] = []byte(contentOf(t, s.Log()))
	said["OpenBao's audit log"] = []byte(contentOf(t, s.AuditLog()))
	for name, doc := range s.Storage(t) {
		said["OpenBao's storage, "+name] = doc
	}
	for where, words := range map[string]string{
		"log": "serving credentials", "audit export": `"act":"credentials.read"`, "audit list": "credentials.refused", "audit verify": "The audit trail is whole",
		"OpenBao's log": "request_path=/v1/secret/data/invoicebox/default/s1", "OpenBao's audit log": `"path":"secret/data/invoicebox/default/s1"`,
	} {
		if !strings.Contains(string(said[where]), words) {
			t.Errorf("%s does not contain %q: the search has nothing to look at", where, words)
		}
	}
	secretID := strings.TrimSpace(contentOf(t, r.path("secret-id")))
	search(t, said, []string{markPartner, markToken, markSecond, markCode, markRotation, markCaller, markNoCaller, secretID, s.Root()})
}
