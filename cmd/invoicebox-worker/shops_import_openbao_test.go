package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/baotest"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// Shops are imported into a real server: callers read them at the endpoint, a repeated file
// stores nothing, and what a refused line has stored is destroyed.
func TestShopsImport_OpenBao(t *testing.T) {
	t.Parallel()
	s := baotest.Start(t)
	r := newRig(t, kafkatest.Embedded(t), calm())
	flags := append(r.vaultFlags(s), "--credentials-store", "openbao")
	r.write("caller", callerToken+"\n")
	callers := r.write("callers.yaml", "callers: [{name: billing, token-file: "+r.path("caller")+", allow: [invoicebox/default/*]}]")
	w := r.start(append(flags, "--credentials-listen", "127.0.0.1:0", "--credentials-callers-file", callers)...)
	address := credentialsWord.FindStringSubmatch(w.log.String())[1]
	// Tokens that work, of shops that are not connected any more.
	code := func(i int) string { return fmt.Sprintf("code-%d", i) }
	for i := 1; i <= 3; i++ {
		shop := fmt.Sprintf("old-%d", i)
		r.entered(shop, code(i))
		r.results(schemas.TypeActivated, i)
		r.must(append([]string{"shops", "disconnect", shop}, r.beside()...)...)
	}
	line := func(shop string, merchantOf, tokenOf int) string {
		return fmt.Sprintf(`{"shopId":%q,"merchantId":%q,"token":%q}`+"\n", shop, r.sandbox.MerchantOf(code(merchantOf)), r.sandbox.TokenOf(code(tokenOf)))
	}
	imported := func(want int, wait, lines string) (v importJSON) {
		t.Helper()
		status, out, errs := r.command(append([]string{"shops", "import", "--wait", wait, "--output", "json", "--file", r.write("shops.jsonl", lines)}, r.beside()...)...)
		if err := json.Unmarshal([]byte(out), &v); err != nil || status != want {
			t.Fatalf("exit status %d, %v\n%s%s", status, err, out, errs)
		}
		for i := 1; i <= 3; i++ {
			if strings.Contains(out+errs, r.sandbox.TokenOf(code(i))) {
				t.Errorf("the output contains a token: %s", out)
			}
		}
		return v
	}
	// versions are those that the server has of a shop: whether each is destroyed.
	versions := func(shop string) (list []bool) {
		t.Helper()
		answer := s.Read(t, baotest.Mount+"/metadata/invoicebox/default/"+shop)
		if answer == nil {
			return nil
		}
		all, _ := answer.Data["versions"].(map[string]any)
		for n := 1; n <= len(all); n++ {
			version, _ := all[fmt.Sprint(n)].(map[string]any)
			destroyed, ok := version["destroyed"].(bool)
			if !ok {
				t.Fatalf("version %d of %s is %v", n, shop, all)
			}
			list = append(list, destroyed)
		}
		return list
	}
	// reads reads the token of a shop at the endpoint, and returns the reference.
	reads := func(shop string, i int) string {
		t.Helper()
		var view shopJSON
		if err := json.Unmarshal([]byte(r.must(append([]string{"shops", "show", shop, "--output", "json"}, r.beside()[:2]...)...)), &view); err != nil || view.Active == nil {
			t.Fatalf("%s is %+v, %v", shop, view, err)
		}
		if status, body := readCredentials(t, address, callerToken, view.Active.Reference); status != http.StatusOK || !strings.Contains(body, fmt.Sprintf(`"token":%q`, r.sandbox.TokenOf(code(i)))) {
			t.Errorf("%s: the endpoint answers %d", shop, status)
		}
		return view.Active.Reference
	}
	expect := func(shop string, i int, want ...bool) {
		t.Helper()
		if got := versions(shop); !slices.Equal(got, want) {
			t.Errorf("%s: the server's versions are destroyed: %v, want %v", shop, got, want)
		}
		if ref, want := reads(shop, i), fmt.Sprintf("ref+openbao://secret/invoicebox/default/%s?version=%d", shop, len(want)); ref != want {
			t.Errorf("%s has the reference %s, want %s", shop, ref, want)
		}
	}

	for round, want := range []importJSON{{Imported: 2}, {Same: 2}} {
		v := imported(exitDone, "1m", line("new-1", 1, 1)+line("new-2", 2, 2))
		if v.Imported != want.Imported || v.Same != want.Same {
			t.Errorf("round %d: %+v", round, v)
		}
		expect("new-1", 1, false)
		expect("new-2", 2, false)
	}

	// Invoicebox refuses the token: nothing is stored.
	v := imported(exitFailed, "1m", `{"shopId":"new-3","merchantId":"8e8d0a6c-0000-4000-8000-000000000001","token":"MARKED-token-of-nobody"}`)
	if len(v.Left) != 1 || v.Left[0].Result != "token_refused" || versions("new-3") != nil {
		t.Errorf("%+v; the server has %v", v, versions("new-3"))
	}
	// The journal refuses the merchant id of another shop: what was stored is destroyed.
	v = imported(exitFailed, "1m", line("new-3", 1, 3))
	if len(v.Left) != 1 || v.Left[0].Result != "merchant_conflict" {
		t.Errorf("%+v", v)
	}
	if got := versions("new-3"); !slices.Equal(got, []bool{true}) {
		t.Errorf("after it was refused, the versions are destroyed: %v", got)
	}
	s.Write(t, baotest.Mount+"/undelete/invoicebox/default/new-3", map[string]any{"versions": []int{1}})
	if answer := s.Read(t, baotest.Mount+"/data/invoicebox/default/new-3"); answer != nil && answer.Data["data"] != nil {
		t.Error("the server still has the secret of the refused line")
	}
	imported(exitDone, "1m", line("new-3", 3, 3))
	expect("new-3", 3, true, false)

	// The server is sealed when an import is requested: the request waits for it.
	r.entered("old-4", code(4))
	r.results(schemas.TypeActivated, 4)
	r.must(append([]string{"shops", "disconnect", "old-4"}, r.beside()...)...)
	s.Seal(t)
	status, out, errs := r.command(append([]string{"shops", "import", "--wait", "2s", "--output", "json", "--file", r.write("shops.jsonl", line("new-4", 4, 4))}, r.beside()...)...)
	if status != exitFailed || !strings.Contains(out, `"result": "waiting"`) {
		t.Errorf("exit status %d\n%s%s", status, out, errs)
	}
	s.Unseal(t)
	if v := imported(exitDone, "1m", line("new-4", 4, 4)); v.Imported+v.Same != 1 {
		t.Errorf("%+v", v)
	}
	// Both requests may have stored the secret. One of them is the shop's.
	await(t, "one version is left", func() bool {
		left := 0
		for _, destroyed := range versions("new-4") {
			if !destroyed {
				left++
			}
		}
		return left == 1
	})
	reads("new-4", 4)

	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
	for name, text := range map[string]string{"the log": w.log.String(), "the server's log": contentOf(t, s.Log()), "the server's audit log": contentOf(t, s.AuditLog()), "the audit trail": r.must("audit", "export", "--journal-url", r.journal)} {
		for i := 1; i <= 4; i++ {
			if strings.Contains(text, r.sandbox.TokenOf(code(i))) || strings.Contains(text, "MARKED") {
				t.Errorf("%s contains a token", name)
			}
		}
	}
}
