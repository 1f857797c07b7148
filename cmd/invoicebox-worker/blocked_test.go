package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// With a wrong base URL nothing is sent, everything that shows the account says why,
// and a corrected URL is used at once.
func TestWrongAddressCostsNoOperation(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), calm())
	var calls atomic.Int32
	wrong := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodPost {
			calls.Add(1)
		}
		http.NotFound(w, q)
	}))
	defer wrong.Close()
	w := r.start("--invoicebox-url", wrong.URL)
	for _, shop := range []string{"s1", "s2", "s3", "s4"} {
		r.selected(shop, shop+"@example.com")
		r.entered(shop, "code-"+shop)
	}
	r.waitsFor("s4", "account_paused")
	status, text := w.get("/readyz")
	if status != http.StatusOK || !strings.Contains(text, "degraded: account default: paused since") || !strings.Contains(text, "--invoicebox-url does not lead to the Invoicebox API; next check at") || !strings.Contains(text, "`accounts check default`") {
		t.Errorf("/readyz: %d %s", status, text)
	}
	for _, c := range []struct {
		code int
		args []string
	}{
		{exitDone, []string{"accounts", "list"}},
		{exitDone, []string{"shops", "show", "s1"}},
		{exitDone, []string{"operations", "list"}},
		{exitFailed, []string{"accounts", "check", "default"}},
		{exitFailed, []string{"accounts", "resume", "default"}},
	} {
		code, out, errs := r.command(append(c.args, r.beside()...)...)
		if code != c.code || !strings.Contains(out+errs, "correct --invoicebox-url and restart the worker") {
			t.Errorf("%s: exit status %d\n%s%s", strings.Join(c.args, " "), code, out, errs)
		}
	}
	if code, out, _ := r.command(append(append([]string{"check"}, r.service()...), "--invoicebox-url", wrong.URL)...); code != exitFailed || !strings.Contains(out, "does not lead to the Invoicebox API") {
		t.Errorf("check: exit status %d\n%s", code, out)
	}
	var list []accountJSON
	if err := json.Unmarshal([]byte(r.must(append([]string{"accounts", "list", "--output", "json"}, r.beside()...)...)), &list); err != nil {
		t.Fatal(err)
	}
	if g := list[0].Circuit; g.State != "paused" || g.Reason != "address" || g.Since == nil || g.NextCheckAt == nil || g.Command != "accounts check default" {
		t.Errorf("%+v", g)
	}
	if code := w.end(); code != exitDone || calls.Load() != 0 {
		t.Errorf("exit status %d after %d calls", code, calls.Load())
	}
	w = r.start()
	r.results(schemas.TypeActivated, 4)
	if status, text := w.get("/readyz"); status != http.StatusOK || !strings.Contains(text, "ready: account default: active") {
		t.Errorf("/readyz: %d %s", status, text)
	}
	if left := r.must(append([]string{"operations", "list", "--attention"}, r.beside()...)...); !strings.Contains(left, "no operations") {
		t.Errorf("in attention:\n%s", left)
	}
}

// The token check does not send the partner id. So the first operation shows that it is
// another partner's, and the others wait.
func TestForeignPartnerCostsOneOperation(t *testing.T) {
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start("--partner-id", "00000000-0000-0000-0000-00000000000f")
	for _, shop := range []string{"s1", "s2", "s3", "s4"} {
		r.entered(shop, "code-"+shop)
	}
	ops := r.waiting(1)
	for shop := range ops {
		if show := r.must(append([]string{"operations", "show", ops[shop].ID}, r.beside()...)...); !strings.Contains(show, "partner_id_refused") {
			t.Errorf("%s", show)
		}
	}
	for _, shop := range []string{"s1", "s2", "s3", "s4"} {
		if _, costs := ops[shop]; !costs {
			r.waitsFor(shop, "account_paused")
		}
	}
	if _, text := w.get("/readyz"); !strings.Contains(text, "Invoicebox does not accept the partner id") || !strings.Contains(text, "`accounts resume default`") {
		t.Errorf("/readyz: %s", text)
	}
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
}
