package sandbox_test

import (
	"errors"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/invoicebox/sandbox"
)

// A want is what a fault word promises of the first request.
type want struct {
	status    int
	gone      bool   // no status line
	broken    bool   // the body does not end well
	code      string // error.code
	kind      string // start of the content type, application/json when empty
	after     time.Duration
	unlimited bool // later requests are answered alike, whatever their number
	see       func(t *testing.T, b *bed, r reply)
}

// hold is what must be true of a response's body.
func holds(text string, yes bool) func(*testing.T, *bed, reply) {
	return func(t *testing.T, _ *bed, r reply) {
		if strings.Contains(r.body, text) != yes {
			t.Errorf("the body has %q: %v; %.200q", text, !yes, r.body)
		}
	}
}

func header(name, value string) func(*testing.T, *bed, reply) {
	return func(t *testing.T, _ *bed, r reply) {
		if got := r.header.Get(name); got != value {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// checksOf wants the responses of the first checks of a code's token: 0 is a null user.
func checksOf(statuses ...int) func(*testing.T, *bed, reply) {
	return func(t *testing.T, b *bed, r reply) {
		token := r.document(t).Data.Token
		for i, want := range statuses {
			c := b.check(token)
			got := c.status
			if c.status == 200 && c.document(t).Data.UserID == nil {
				got = 0
			}
			if got != want {
				t.Errorf("check %d: %d %s", i+1, got, c.body)
			}
		}
	}
}

func wants() map[string]want {
	const s = time.Second
	return map[string]want{
		"rejected-":       {status: 422, unlimited: true},
		"expired-":        {status: 422, code: "activation_code_expired", unlimited: true},
		"used-":           {status: 422, code: "activation_code_used", unlimited: true},
		"conflict-":       {status: 409, unlimited: true},
		"no-error-code-":  {status: 422, unlimited: true, see: holds(`"code"`, false)},
		"partner-field-":  {status: 422, code: "validation", unlimited: true, see: holds(`"name":"partnerId"`, true)},
		"not-found-":      {status: 404, code: "not_found_http_exception", unlimited: true},
		"flat-error-":     {status: 422, unlimited: true, see: holds(`{"message":`, true)},
		"unauthorized-":   {status: 401, code: "unauthorized", unlimited: true},
		"forbidden-":      {status: 403, code: "forbidden", unlimited: true},
		"limited-":        {status: 429, code: "too_many_requests", see: header("Retry-After", "1")},
		"timeout408-":     {status: 408, code: "request_timeout"},
		"error500-":       {status: 500, code: "internal_error"},
		"error500-after-": {status: 500, code: "internal_error"},
		"error503-":       {status: 503, code: "service_unavailable", see: header("Retry-After", "1")},
		"error503-after-": {status: 503, code: "service_unavailable", see: header("Retry-After", "1")},
		"reset-":          {gone: true},
		"reset-after-":    {gone: true},
		"lost-answer-":    {gone: true},
		"cut-headers-":    {status: 200, broken: true},
		"half-body-":      {status: 200, broken: true, see: holds(`{"data":`, true)},
		"broken-json-":    {status: 200, see: holds(`{"data";{`, true)},
		"empty-body-":     {status: 200, kind: "none"},
		"error200-":       {status: 200, code: "internal_error"},
		"html-":           {status: 502, kind: "text/html", see: holds("<html>", true)},
		"html200-":        {status: 200, kind: "text/html", see: holds("<html>", true)},
		"html404-":        {status: 404, kind: "text/html", unlimited: true},
		"redirect-":       {status: 307, kind: "text/html", unlimited: true, see: header("Location", "/moved")},
		"huge-body-":      {status: 200, see: holds(strings.Repeat("x", 65<<10), true)},
		"wrong-type-":     {status: 200, kind: "text/plain", unlimited: true},
		"more-members-":   {status: 200, unlimited: true, see: holds(`"metaData"`, true)},
		"slow-":           {status: 200, after: 5 * s},
		"drip-":           {status: 200, after: 3 * s},
		"no-token-":       {status: 200, see: holds(`"token"`, false)},
		"same-merchant-":  {status: 200, see: sameMerchant},
		"pending-token-":  {status: 200, see: checksOf(401, 401, 200, 200)},
		"bad-token-":      {status: 200, see: checksOf(401, 401, 401, 401)},
		"null-user-":      {status: 200, see: checksOf(0, 0, 0)},
		"no-id-":          {status: 200, see: holds(`"id"`, false)},
		"int-id-":         {status: 200, see: holds(`"id":"`, false)},
		"uuid-id-":        {status: 200, see: holds(`"id":"`, true)},
	}
}

func sameMerchant(t *testing.T, b *bed, r reply) {
	other := b.activate("same-merchant-other").document(t).Data
	mine := r.document(t).Data
	if other.MerchantID != mine.MerchantID || other.Token == mine.Token {
		t.Errorf("%+v %+v", other, mine)
	}
}

// TestEveryFaultWord walks over the table: what it says of effect and number
// must be true, for codes and for addresses.
func TestEveryFaultWord(t *testing.T) {
	all := wants()
	for _, f := range sandbox.Faults() {
		w, known := all[f.Word]
		if !known {
			t.Errorf("%s: what it promises is not in this test", f.Word)
		}
		if f.On != "addresses" {
			t.Run(f.Word+"code", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					value := f.Word + "1c4"
					tryFault(t, f, w, value, (*bed).activate, func(b *bed) (int, int) { e := b.activation(value); return e.Requests, e.Effects })
				})
			})
		}
		if f.On != "codes" {
			t.Run(f.Word+"address", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					value := f.Word + "anna@shop.example"
					tryFault(t, f, w, value, (*bed).invite, func(b *bed) (int, int) { e := b.invitation(value); return e.Requests, e.Effects })
				})
			})
		}
	}
}

func tryFault(t *testing.T, f sandbox.FaultWord, w want, value string, call func(*bed, string) reply, effects func(*bed) (int, int)) {
	b, stop := inBubble(t, sandbox.Options{RequestsPerWindow: lifted, EgressPerWindow: lifted})
	defer stop()
	start := time.Now()
	r := call(b, value)
	if took := time.Since(start); took < w.after || took > w.after+time.Second/2 {
		t.Errorf("took %v", took)
	}
	requests, done := effects(b)
	if requests != 1 || (done == 1) != f.Effect || done > 1 {
		t.Errorf("%d requests, %d effects", requests, done)
	}
	if q := b.Requests()[0]; q.Effect != f.Effect || q.Fault != f.Word || q.Status != r.status || q.Subject != value || q.Pending {
		t.Errorf("log: %+v", q)
	}
	w.verify(t, b, r)
	if f.Number != "times" {
		return
	}
	// The fault ends after its default number of requests, or never.
	alike := r
	for range max(f.Default, 4) - 1 {
		alike = call(b, value)
	}
	if over := f.Default == 0; w.unlimited && !over || over && alike.status != r.status && f.Word != "no-token-" && f.Word != "no-id-" && f.Word != "wrong-type-" && f.Word != "more-members-" {
		t.Errorf("at last: %d", alike.status)
	}
	if f.Default > 0 && !f.Effect && alike.status != 200 && alike.code(t) != "activation_code_used" {
		t.Errorf("the fault does not end: %d", alike.status)
	}
}

func (w want) verify(t *testing.T, b *bed, r reply) {
	t.Helper()
	if w.gone != (r.err != nil) || w.gone && !isGone(r.err) {
		t.Fatalf("status %d, error %v", r.status, r.err)
	}
	if r.status != w.status || w.broken != (r.bodyErr != nil) {
		t.Fatalf("status %d, body %.200q, %v", r.status, r.body, r.bodyErr)
	}
	kind := w.kind
	switch kind {
	case "":
		kind = "application/json"
	case "none":
		kind = ""
	}
	if got := r.header.Get("Content-Type"); !w.gone && (!strings.HasPrefix(got, kind) || kind == "" && got != "") {
		t.Errorf("content type %q", got)
	}
	if w.code != "" && r.code(t) != w.code {
		t.Errorf("body %s", r.body)
	}
	if w.see != nil {
		w.see(t, b, r)
	}
}

// TestNumbersAfterTheWord holds what a value's own number means.
func TestNumbersAfterTheWord(t *testing.T) {
	for _, tc := range []struct {
		code  string
		fails int // how many of five requests
	}{
		{"limited-1-x", 1}, {"limited-3-x", 3}, {"limited-0-x", 5}, {"limited-x", 2}, {"limited-3x", 2}, {"limited-3", 2}, {"limited--x", 2},
		{"limited-99999-x", 2}, {"limited-9999-x", 5}, {"error503-4-x", 4}, {"error500-x", 1}, {"Limited-x", 0}, {"x-limited-x", 0}, {"limited", 0},
	} {
		b := onTCP(t, sandbox.Options{CodeReuse: sandbox.Repeatable})
		for i := range 5 {
			if r := b.activate(tc.code); (r.status >= 400) != (i < tc.fails) {
				t.Errorf("%s, request %d: %d", tc.code, i+1, r.status)
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		b, stop := inBubble(t, sandbox.Options{})
		defer stop()
		for code, want := range map[string]time.Duration{"slow-40-x": 40 * time.Second, "slow-0-x": 0, "drip-2-x": 2 * time.Second} {
			start := time.Now()
			r := b.activate(code)
			if took := time.Since(start); r.status != 200 || (took-want).Abs() > 50*time.Millisecond {
				t.Errorf("%s: %d after %v", code, r.status, took)
			}
		}
	})
}

// TestTheEffectComesFirst has a second request find the code spent after each
// fault that says so.
func TestTheEffectComesFirst(t *testing.T) {
	for _, word := range []string{"lost-answer-", "reset-after-", "error500-after-", "error503-after-", "half-body-", "cut-headers-", "broken-json-", "empty-body-", "html200-", "error200-", "huge-body-"} {
		b := onTCP(t, sandbox.Options{})
		b.activate(word + "x")
		if r := b.activate(word + "x"); r.status != 422 || r.code(t) != "activation_code_used" {
			t.Errorf("%s: %d %s", word, r.status, r.body)
		}
		if e := b.activation(word + "x"); e.Requests != 2 || e.Effects != 1 {
			t.Errorf("%s: %+v", word, e)
		}
	}
}

// TestResetsAreResets looks at a real socket, where a close and a reset differ.
func TestResetsAreResets(t *testing.T) {
	for _, b := range []*bed{onTCP(t, sandbox.Options{}), onTLS(t, sandbox.Options{})} {
		for word, reset := range map[string]bool{"reset-": true, "reset-after-": true, "lost-answer-": false} {
			b.client.CloseIdleConnections()
			r := b.activate(word + "x")
			if r.err == nil || errors.Is(r.err, syscall.ECONNRESET) != reset {
				t.Errorf("%s: %v", word, r.err)
			}
		}
		if r := b.activate("reset-x"); r.status != 200 {
			t.Errorf("after the reset: %d", r.status)
		}
	}
}

func TestTheReadmeHasTheWholeTable(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for _, f := range sandbox.Faults() {
		number := ""
		switch {
		case f.Number == "times" && f.Default == 0:
			number = "always"
		case f.Number != "":
			number = strconv.Itoa(f.Default) + " " + f.Number
		}
		row := "| `" + f.Word + "` | " + f.On + " | " + number + " | " + f.What + " |\n"
		i := strings.Index(string(text)[at:], row)
		if i < 0 {
			t.Fatalf("README.md has no row, or not in this place: %s", row)
		}
		at += i
	}
	if rows := len(regexp.MustCompile("(?m)^\\| `[a-z0-9-]+-` \\|").FindAll(text, -1)); rows != len(sandbox.Faults()) {
		t.Errorf("README.md has %d rows of fault words, the table %d", rows, len(sandbox.Faults()))
	}
}

func TestFaultWordsFitIntoTheirValues(t *testing.T) {
	for _, f := range sandbox.Faults() {
		if len(f.Word) > 20 || !strings.HasSuffix(f.Word, "-") || f.What == "" {
			t.Errorf("%+v", f)
		}
	}
}
