package sandbox_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"

	"invoicebox-worker/invoicebox/sandbox"
)

// ask sends an admin request without a socket.
func (b *bed) ask(method, path, body string, change func(*http.Request)) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:8081"+path, strings.NewReader(body))
	if method == "POST" {
		r.Header.Set("Content-Type", "application/json")
	}
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	b.Admin().ServeHTTP(w, r)
	return w
}

func (b *bed) get(path string, into any) {
	b.t.Helper()
	w := b.ask("GET", path, "", nil)
	if err := json.Unmarshal(w.Body.Bytes(), into, json.RejectUnknownMembers(true)); err != nil || w.Code != 200 {
		b.t.Fatalf("%s: %d %s: %v", path, w.Code, w.Body, err)
	}
}

func TestAdminCodes(t *testing.T) {
	other := sandbox.Account{PartnerID: "other", Token: "o"}
	mine := sandbox.Account{PartnerID: sandbox.DefaultPartnerID, Token: sandbox.DefaultToken}
	b := onTCP(t, sandbox.Options{Accounts: []sandbox.Account{mine, other}})
	plant := func(body string) *httptest.ResponseRecorder { return b.ask("POST", "/codes", body, nil) }

	if w := plant(`{"code":"c","merchantId":"m","token":"shop:token","reusable":true}`); w.Code != 200 || !strings.Contains(w.Body.String(), `"merchantId":"m"`) {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for range 2 {
		if d := b.activate("c").document(t).Data; d == nil || d.MerchantID != "m" || d.Token != "shop:token" {
			t.Errorf("%+v", d)
		}
	}
	if r := b.check("shop:token"); r.status != 200 {
		t.Errorf("the planted token: %d", r.status)
	}
	if w := plant(`{"code":"d","partnerId":"other"}`); w.Code != 200 || !strings.Contains(w.Body.String(), b.TokenOf("d")) {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if r := b.activate("d"); r.status != 422 || r.code(t) != "activation_code_not_found" {
		t.Errorf("another's code: %d %s", r.status, r.body)
	}
	// A code that is planted again is as new, and its old token still works.
	first := b.activate("e").document(t).Data.Token
	if w := plant(`{"code":"e","token":"newer"}`); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if d := b.activate("e").document(t).Data; d == nil || d.Token != "newer" {
		t.Errorf("%+v", d)
	}
	if b.check(first).status != 200 || b.check("newer").status != 200 || b.activation("e").Effects != 2 {
		t.Errorf("after planting again: %+v", b.activation("e"))
	}
	for body, says := range map[string]string{
		`{"code":"` + strings.Repeat("x", 37) + `"}`: "code: want",
		`{}`: "code: want",
		`{"code":"x","merchantId":"` + strings.Repeat("x", 37) + `"}`: "merchantId",
		`{"code":"x","token":"a b"}`:                                  "token: want",
		`{"code":"x","token":"o"}`:                                    "token: it belongs",
		`{"code":"x","token":"newer"}`:                                "token: it belongs",
		`{"code":"x","partnerId":"nobody"}`:                           "partnerId",
		`{"code":"x","partnerid":"other"}`:                            "no such member",
		`{"code":1}`:                                                  "want a string",
		`{"code":"x","reusable":"yes"}`:                               "true or false",
		`{"code":"x","code":"y"}`:                                     "not valid JSON",
		`["x"]`:                                                       "JSON object",
		`null`:                                                        "JSON object",
		``:                                                            "JSON object",
		`{`:                                                           "not valid JSON",
	} {
		if w := plant(body); w.Code != 400 || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
}

func TestAdminAnswers(t *testing.T) {
	b := onTCP(t, sandbox.Options{})
	plant := func(body string) {
		t.Helper()
		if w := b.ask("POST", "/answers", body, nil); w.Code != 204 {
			t.Fatalf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	effects := func(code string) int { return b.activation(code).Effects }

	plant(`{"operation":"activate","match":"a","status":502,"headers":{"Retry-After":"7","content-type":"text/html"},"body":"<html>","times":2}`)
	for range 2 {
		if r := b.activate("a"); r.status != 502 || r.body != "<html>" || r.header.Get("Retry-After") != "7" || r.header.Get("Content-Type") != "text/html" {
			t.Errorf("%+v", r)
		}
	}
	if r := b.activate("a"); r.status != 200 || effects("a") != 1 {
		t.Errorf("after them: %d", r.status)
	}
	plant(`{"match":"b","status":500,"effect":true}`)
	if r := b.activate("b"); r.status != 500 || r.code(t) != "internal_error" || effects("b") != 1 {
		t.Errorf("with the effect: %+v", r)
	}
	plant(`{"match":"c","body":{"data":{"merchantId":"m"}}}`)
	if r := b.activate("c"); r.status != 200 || r.body != `{"data":{"merchantId":"m"}}` || effects("c") != 0 {
		t.Errorf("a body: %+v", r)
	}
	plant(`{"match":"d","headers":{"X-Extra":"1"}}`)
	if r := b.activate("d"); r.status != 200 || r.header.Get("X-Extra") != "1" || effects("d") != 1 {
		t.Errorf("a header: %+v", r)
	}
	plant(`{"match":"e","cut":"before"}`)
	plant(`{"match":"f","cut":"before","effect":true}`)
	plant(`{"match":"g","cut":"headers","effect":true}`)
	plant(`{"match":"h","cut":"body"}`)
	e, f, g, h := b.activate("e"), b.activate("f"), b.activate("g"), b.activate("h")
	if e.err == nil || f.err == nil || g.bodyErr == nil || g.body != "" || h.bodyErr == nil || h.body == "" {
		t.Errorf("cuts: %+v %+v %+v %+v", e, f, g, h)
	}
	if effects("e") != 0 || effects("f") != 1 || effects("g") != 1 || effects("h") != 0 {
		t.Errorf("effects of cuts: %d %d %d %d", effects("e"), effects("f"), effects("g"), effects("h"))
	}
	// An exact subject goes before a pattern, and that before a word in the value.
	plant(`{"operation":"activate","match":"rejected-*","status":503,"times":-1}`)
	plant(`{"operation":"activate","match":"rejected-x","status":504}`)
	for i, want := range []int{504, 503, 503, 503} {
		if r := b.activate("rejected-x"); r.status != want {
			t.Errorf("request %d: %d, want %d", i, r.status, want)
		}
	}
	plant(`{"operation":"check","status":503}`)
	if r := b.check(sandbox.DefaultToken); r.status != 503 {
		t.Errorf("a check: %d", r.status)
	}
	if r := b.check(sandbox.DefaultToken); r.status != 200 {
		t.Errorf("the next check: %d", r.status)
	}
	plant(`{"operation":"invite","status":204}`)
	if r := b.invite("x@y"); r.status != 204 || r.body != "" || b.invitation("x@y").Effects != 0 {
		t.Errorf("204: %+v", r)
	}
	if q := b.Requests()[0]; q.Fault != "planted" {
		t.Errorf("log: %+v", q)
	}
}

func TestAdminAnswersAreChecked(t *testing.T) {
	b := onTCP(t, sandbox.Options{})
	for body, says := range map[string]string{
		`{"operation":"delete"}`:                       "operation",
		`{"cut":"middle"}`:                             "cut",
		`{"status":99}`:                                "status",
		`{"status":600}`:                               "status",
		`{"status":204,"body":"x"}`:                    "no body",
		`{"status":"500"}`:                             "want a whole number",
		`{"status":500.5}`:                             "want a whole number",
		`{"delay":5}`:                                  "want a string",
		`{"delay":"5"}`:                                "want a duration",
		`{"delay":"-1s"}`:                              "delay",
		`{"delay":"2h"}`:                               "delay",
		`{"effect":1}`:                                 "true or false",
		`{"headers":{"a b":"c"}}`:                      "header name",
		`{"headers":{"a":"c\r\nd: e"}}`:                "control character",
		`{"headers":{"a":1}}`:                          "want a string",
		`{"headers":[]}`:                               "object of strings",
		`{"headers":{"Content-Length":"3"}}`:           "cannot be planted",
		`{"match":"` + strings.Repeat("x", 401) + `"}`: "match",
		`{"times":1e3}`:                                "want a whole number",
		`{"Match":"x"}`:                                "no such member",
		`{"times":1000,"x":1}`:                         "no such member",
	} {
		if w := b.ask("POST", "/answers", body, nil); w.Code != 400 || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	if w := b.ask("POST", "/answers", `{"body":"`+strings.Repeat("x", 1<<20)+`"}`, nil); w.Code != 413 {
		t.Errorf("too large: %d", w.Code)
	}
	for range 1000 {
		if w := b.ask("POST", "/answers", `{"match":"*"}`, nil); w.Code != 204 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	if w := b.ask("POST", "/answers", `{"match":"*"}`, nil); w.Code != 507 {
		t.Errorf("too many: %d %s", w.Code, w.Body)
	}
}

func TestAdminShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, stop := inBubble(t, sandbox.Options{Latency: time.Second})
		defer stop()
		b.invite("anna@shop.example")
		b.activate("c")
		b.activate("c")
		b.check(b.TokenOf("c"))
		b.do("GET", "/nothing", "", nil)
		b.activate("lost-answer-c")
		if err := b.AddCode(sandbox.Code{Code: "planted and never asked about"}); err != nil {
			t.Fatal(err)
		}

		var requests []sandbox.Request
		b.get("/requests", &requests)
		var got []string
		for i, q := range requests {
			got = append(got, fmt.Sprint(q.Operation, " ", q.Subject, " ", q.Status, " ", q.Effect, " ", q.Account == sandbox.DefaultPartnerID))
			if i > 0 && q.Time.Sub(requests[i-1].Time) != time.Second {
				t.Errorf("request %d at %v, the one before at %v", i, q.Time, requests[i-1].Time)
			}
			if !uuidForm.MatchString(q.RequestID) {
				t.Errorf("request id %q", q.RequestID)
			}
		}
		want := []string{
			"invite anna@shop.example 200 true true", "activate c 200 true true", "activate c 422 false true",
			"check " + b.MerchantOf("c") + " 200 false false", "unknown  404 false true", "activate lost-answer-c 0 true true",
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("requests:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		var effects sandbox.Effects
		b.get("/effects", &effects)
		if len(effects.Invitations) != 1 || len(effects.Activations) != 2 || effects.Requests != 6 || effects.Overlaps != 0 ||
			effects.Activations[0] != (sandbox.ActivationEffects{Code: "c", Requests: 2, Effects: 1, MerchantID: b.MerchantOf("c")}) {
			t.Errorf("effects: %+v", effects)
		}
		var windows struct {
			Window   string               `json:"window"`
			Accounts []sandbox.RateReport `json:"accounts"`
			IPs      []sandbox.RateReport `json:"ips"`
		}
		b.get("/windows", &windows)
		if windows.Window != "30s" || windows.Accounts[0].Peak != 5 || windows.IPs[0].Peak != 6 || windows.Accounts[0].Limit != 100 {
			t.Errorf("windows: %+v", windows)
		}

		if w := b.ask("DELETE", "/state", "", nil); w.Code != 204 {
			t.Fatalf("DELETE: %d", w.Code)
		}
		if e, w := b.Effects(), b.Windows(); len(b.Requests()) != 0 || len(e.Activations)+len(e.Invitations) != 0 || w.Accounts[0].Peak != 0 || len(w.IPs) != 0 {
			t.Errorf("after a reset: %+v %+v", e, w)
		}
		if r := b.activate("c"); r.status != 200 || b.Requests()[0].RequestID != requests[0].RequestID {
			t.Errorf("after a reset it is as after a start: %d", r.status)
		}
	})
}

func TestAdmin_RefusesOtherHosts(t *testing.T) {
	b := onTCP(t, sandbox.Options{AdminHosts: []string{"sandbox.example"}})
	for host, want := range map[string]int{
		"127.0.0.1:8081": 200, "localhost:8081": 200, "LOCALHOST": 200, "[::1]:8081": 200, "10.1.2.3": 200, "sandbox.example:80": 200,
		"evil.example": 403, "127.0.0.1.evil.example:8081": 403, "": 403,
	} {
		if w := b.ask("GET", "/windows", "", func(r *http.Request) { r.Host = host }); w.Code != want {
			t.Errorf("%q: %d", host, w.Code)
		}
	}
	if w := b.ask("POST", "/codes", `{"code":"c"}`, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }); w.Code != 415 {
		t.Errorf("a form of a browser: %d", w.Code)
	}
	if w := b.ask("PUT", "/codes", "", nil); w.Code != 405 {
		t.Errorf("PUT: %d", w.Code)
	}
	if w := b.ask("GET", "/", "", nil); w.Code != 404 {
		t.Errorf("GET /: %d", w.Code)
	}
}

// TestKeepBounds what is remembered.
func TestKeepBounds(t *testing.T) {
	b := onTCP(t, sandbox.Options{MaxRecords: 3, RequestsPerWindow: lifted, EgressPerWindow: lifted})
	for i := range 5 {
		want := map[bool]int{true: 200, false: 503}[i < 3]
		if r := b.activate(fmt.Sprint("c", i)); r.status != want || want == 503 && r.code(t) != "sandbox_full" {
			t.Errorf("code %d: %d %s", i, r.status, r.body)
		}
	}
	if r := b.activate("c0"); r.status != 422 {
		t.Errorf("a known code: %d", r.status)
	}
	if err := b.AddCode(sandbox.Code{Code: "more"}); !errors.Is(err, sandbox.ErrFull) {
		t.Errorf("planting more: %v", err)
	}
	if e := b.Effects(); len(b.Requests()) != 3 || e.Requests != 6 || len(e.Activations) != 3 || b.Windows().Accounts[0].Peak != 6 {
		t.Errorf("%d in the log, %+v", len(b.Requests()), e)
	}
	w := b.ask("GET", "/requests", "", nil)
	if total := w.Header().Get("X-Total-Count"); total != "6" {
		t.Errorf("X-Total-Count %q", total)
	}
	_, _ = io.Copy(io.Discard, w.Body)
}

// TestALongLogComesInOrder is longer than one piece of the log.
func TestALongLogComesInOrder(t *testing.T) {
	b := onTCP(t, sandbox.Options{RequestsPerWindow: lifted, EgressPerWindow: lifted})
	const n = 2500
	for i := range n {
		r := httptest.NewRequest(http.MethodPost, sandbox.ActivatePath, strings.NewReader(activation(sandbox.DefaultPartnerID, fmt.Sprint("c", i))))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+sandbox.DefaultToken)
		b.API().ServeHTTP(httptest.NewRecorder(), r)
	}
	var requests []sandbox.Request
	b.get("/requests", &requests)
	if len(requests) != n || len(b.Requests()) != n {
		t.Fatalf("%d of %d", len(requests), n)
	}
	for i, q := range requests {
		if q.Subject != fmt.Sprint("c", i) || q.Status != 200 {
			t.Fatalf("request %d: %+v", i, q)
		}
	}
}
