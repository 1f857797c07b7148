package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/pgtest"
	"invoicebox-worker/schemas"
)

// Shops of an older integration are imported beside a running service. Lines that cannot be
// used delay no other, and a repeated file changes nothing.
func TestShopsImport(t *testing.T) {
	t.Parallel()
	for name, database := range map[string]func(*rig){
		"SQLite":     func(*rig) {},
		"PostgreSQL": func(r *rig) { r.journal = pgtest.Start(r.t).Database(r.t, "") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, kafkatest.Embedded(t), calm())
			database(r)
			w := r.start()
			// Tokens that work, of shops that are not connected any more.
			line := map[int]string{}
			for i := 1; i <= 3; i++ {
				code := fmt.Sprintf("code-%d", i)
				r.entered(fmt.Sprintf("old-%d", i), code)
				r.results(schemas.TypeActivated, i)
				r.must(append([]string{"shops", "disconnect", fmt.Sprintf("old-%d", i)}, r.beside()...)...)
				line[i] = fmt.Sprintf(`"merchantId":%q,"token":%q}`, r.sandbox.MerchantOf(code), r.sandbox.TokenOf(code)) + "\n"
			}
			file := r.write("shops.jsonl", "\xef\xbb\xbf"+`{"shopId":"old-1",`+line[1]+ // 1: the shop itself
				`{"shopId":"shop/2 ü","account":"default",`+line[2]+ // 2: a new one
				"\n"+`{"shopId":"s4","merchantId":"m","token":`+"\n"+ // 4: no JSON
				`{"shopId":"s5","token":"`+strings.Repeat("x", 2*maxImportLine)+`"}`+"\n"+ // 5: too long
				"{\"shopId\":\"s6\xff\","+line[3]+ // 6: not UTF-8
				`{"shopId":"old-1",`+line[3]+ // 7: the shop again
				`{"shopId":"s8","merchantId":"aa","merchantId":"bb","token":"t"}`+"\n"+ // 8: a member twice
				`{"shopId":"s9","account":"nobody",`+line[3]+ // 9
				`{"shopId":"s10","merchantId":"8e8d0a6c-0000-4000-8000-000000000001","token":"MARKED-token-of-nobody"}`+"\n"+ // 10: refused
				`{"shopId":"",`+line[3]+ // 11
				`{"shopId":"s12",`+line[1]) // 12: the merchant again
			imported := func(want int, args ...string) (v importJSON) {
				t.Helper()
				code, out, errs := r.command(append(append([]string{"shops", "import", "--wait", "1m", "--output", "json"}, args...), r.beside()...)...)
				if err := json.Unmarshal([]byte(out), &v); err != nil || code != want || strings.Contains(out+errs, "MARKED") || strings.Contains(out+errs, r.sandbox.TokenOf("code-1")) {
					t.Fatalf("exit status %d, %v\n%s%s", code, err, out, errs)
				}
				return v
			}
			if v := imported(exitFailed, "--file", file, "--dry-run"); v.Importable != 3 || len(v.Left) != 8 {
				t.Errorf("the dry run says %+v", v)
			}
			v := imported(exitFailed, "--file", file)
			want := map[int]string{4: "not a JSON object", 5: "longer than", 6: "not UTF-8", 7: "in line 1 already", 8: "not a JSON object", 9: "no such account", 10: "Invoicebox refuses this token", 11: "shopId must be", 12: "in line 1 already"}
			for _, l := range v.Left {
				if !strings.Contains(l.Detail, want[l.Line]) || want[l.Line] == "" {
					t.Errorf("line %d: %+v", l.Line, l)
				}
				delete(want, l.Line)
			}
			if v.Lines != 11 || v.Imported != 2 || len(want) > 0 {
				t.Errorf("imported %+v; nothing is said of %v", v, want)
			}
			if v := imported(exitFailed, "--file", file); v.Imported != 0 || v.Same != 2 {
				t.Errorf("again: %+v", v)
			}
			for shop, code := range map[string]string{"old-1": "code-1", "shop/2 ü": "code-2"} {
				var view shopJSON
				if err := json.Unmarshal([]byte(r.must(append([]string{"shops", "show", shop, "--output", "json"}, r.beside()[:2]...)...)), &view); err != nil || view.Active == nil || view.Active.MerchantID != r.sandbox.MerchantOf(code) {
					t.Fatalf("shop %s is %+v, %v", shop, view, err)
				}
				if out := r.must(append([]string{"resolve", view.Active.Reference}, r.beside()...)...); strings.TrimSpace(out) != r.sandbox.TokenOf(code) {
					t.Errorf("shop %s has another token", shop)
				}
			}
			// Other credentials of an active shop, and one that is published.
			more := r.write("more.jsonl", `{"shopId":"old-1",`+line[3]+`{"shopId":"s3",`+strings.Replace(line[3], "\n", "", 1))
			if v := imported(exitFailed, "--file", more, "--publish"); v.Imported != 0 || len(v.Left) != 2 || v.Left[0].Result != "other_credentials" || v.Left[1].Result != "invalid" {
				t.Errorf("imported %+v", v)
			}
			more = r.write("third.jsonl", `{"shopId":"s3",`+line[3])
			if v := imported(exitDone, "--file", more, "--publish"); v.Imported != 1 {
				t.Errorf("imported %+v", v)
			}
			events := r.results(schemas.TypeActivated, 4)
			if d := events[len(events)-1].Data.(schemas.Activated); len(events) != 4 || d.ShopID != "s3" || d.Verification != schemas.VerificationVerified || d.MerchantID != r.sandbox.MerchantOf("code-3") {
				t.Errorf("%d events, the last is %+v", len(events), d)
			}
			// A newer code leads to the next version.
			r.entered("s4", "code-4")
			if err := os.Chmod(file, 0o644); err != nil { // #nosec G302 -- to be refused
				t.Fatal(err)
			}
			if code, _, errs := r.command(append([]string{"shops", "import", "--file", file}, r.beside()...)...); code != exitFailed || !strings.Contains(errs, "mode 0644") {
				t.Errorf("a file that others can read: exit status %d\n%s", code, errs)
			}
			r.must(append([]string{"audit", "verify"}, r.beside()[:2]...)...)
			if trail := r.audit(); !strings.Contains(trail, "import.performed default/old-1 imported") || !strings.Contains(trail, "import.asked default/s3 ") {
				t.Errorf("the audit trail is\n%s", trail)
			}
			r.results(schemas.TypeActivated, 5)
			if code := w.end(); code != exitDone {
				t.Errorf("exit status %d", code)
			}
			// Without a worker the command does not fill the journal with requests.
			many := ""
			for i := range 3 * importAtOnce {
				many += fmt.Sprintf(`{"shopId":"late-%d","merchantId":"8e8d0a6c-0000-4000-8000-%012d","token":"MARKED-late-%d"}`+"\n", i, 100+i, i)
			}
			if v := imported(exitFailed, "--file", r.write("many.jsonl", many), "--wait", "200ms"); v.Lines != importAtOnce || len(v.Left) != importAtOnce || v.Left[0].Result != "waiting" {
				t.Errorf("imported %+v", v)
			}
			if code, _, errs := r.command(append([]string{"shops", "import", "--file", r.path("many.jsonl"), "--wait", "0s"}, r.beside()...)...); code != exitUsage || !strings.Contains(errs, "--wait must be above 0s") {
				t.Errorf("without waiting: exit status %d\n%s", code, errs)
			}
			if log := w.log.String(); strings.Contains(log, "MARKED") || strings.Contains(log, r.sandbox.TokenOf("code-1")) {
				t.Error("the log contains a token")
			}
		})
	}
}
