package invoicebox_test

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
)

func decode(t *testing.T, body []byte) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return out
}

// complete is a complete response.
func complete(op invoicebox.Operation, status int, body string) invoicebox.Exchange {
	return invoicebox.Exchange{Operation: op, Status: status, Body: []byte(body), BodyComplete: true, Written: 300}
}

func TestParseInvitation(t *testing.T) {
	for body, want := range map[string]string{
		`{"data":{"id":123}}`:               "123",
		`{"data":{"id":"9f1c-uuid"}}`:       "9f1c-uuid",
		`{"data":{}}`:                       "",
		`{"data":{"id":null}}`:              "",
		`{"data":{"id":{"a":1}}}`:           "",
		`{"data":{"id":"a b"}}`:             "",
		`{"data":{"id":"me@shop.example"}}`: "",
		`{"data":{"ID":1}}`:                 "",
		`{"data":{"id":"` + long128 + `"}}`: "",
		`{"data":{"id":12345678901234567890123},"metaData":{"x":[1]},"new":null,"error":null}`: "12345678901234567890123",
	} {
		i, err := invoicebox.ParseInvitation(complete(invoicebox.Invite, 200, body))
		if err != nil || i.ID != want {
			t.Errorf("%s: %+v %v, want %q", body, i, err, want)
		}
	}
	for _, body := range unreadableBodies {
		if i, err := invoicebox.ParseInvitation(complete(invoicebox.Invite, 200, body)); !errors.Is(err, invoicebox.ErrUnreadable) || i.ID != "" {
			t.Errorf("%q: %+v %v", body, i, err)
		}
	}
}

var long128 = strings.Repeat("x", 129)

// unreadableBodies are no good response to anything.
var unreadableBodies = []string{
	``, ` `, `null`, `[]`, `"x"`, `{`, `{}`, `{"data":null}`, `{"data":[]}`, `{"data":"x"}`, `{"Data":{"id":1,"userId":1,"merchantId":"m","token":"t"}}`,
	`{"data":{"id":1},"data":{"id":2}}`, `{"data":{"id":1,"userId":1,"merchantId":"m","token":"t"},"error":{"code":"x"}}`,
	`{"data":{"id":1,"userId":1,"merchantId":"m","token":"t"},"error":"x"}`, `{"data":{"id":1,"userId":1,"merchantId":"m","token":"t"}} {}`, `<html></html>`,
	`<html><script>` + "\n" + `{"data":{"id":1,"userId":1,"merchantId":"m","token":"t"}}` + "\n</script></html>",
	`[{"data":{"id":1,"userId":1,"merchantId":"m","token":"t"}}]`, "{\"data\":{\"id\":1,\"userId\":1,\"merchantId\":\"m\",\"token\":\"t\"",
	"Notice: a {\n{\"x\":\n{\"data\":{\"id\":1,\"userId\":1,\"merchantId\":\"m\",\"token\":\"t\"}}",
}

func TestParseActivation(t *testing.T) {
	a, err := invoicebox.ParseActivation(complete(invoicebox.Activate, 200, goodActivate))
	if err != nil || a.MerchantID != partnerID || a.Token.Reveal() != markedShopToken {
		t.Errorf("%+v %v", a, err)
	}
	for _, body := range append([]string{
		`{"data":{"merchantId":"m"}}`,
		`{"data":{"token":"` + markedShopToken + `"}}`,
		`{"data":{"merchantId":"m","token":""}}`,
		`{"data":{"merchantId":"m","token":null}}`,
		`{"data":{"merchantId":"m","token":7.5}}`,
		`{"data":{"merchantId":7e3,"token":"` + markedShopToken + `"}}`,
		`{"data":{"merchantId":-7,"token":"` + markedShopToken + `"}}`,
		`{"data":{"merchantId":true,"token":"` + markedShopToken + `"}}`,
		"{\"data\":{\"merchantId\":\"m\",\"token\":\"" + markedShopToken + "\xff\"}}",
		`{"data":{"merchantId":"m","Token":"` + markedShopToken + `"}}`,
		`{"data":{"merchantId":"m","token":"` + markedShopToken + ` x"}}`,
		`{"data":{"merchantId":"m","token":"` + strings.Repeat("x", 5000) + `"}}`,
		`{"data":{"merchantId":"` + long128 + `","token":"` + markedShopToken + `"}}`,
		`{"data":{"merchantId":"` + markedShopToken + `","token":"` + markedShopToken + `"}}`,
		`{"data":{"merchantId":"m","token":"a","token":"b"}}`,
	}, unreadableBodies...) {
		x := complete(invoicebox.Activate, 200, body)
		if a, err := invoicebox.ParseActivation(x); !errors.Is(err, invoicebox.ErrUnreadable) || a.MerchantID != "" || !a.Token.IsZero() {
			t.Errorf("%q: %+v %v", body, a, err)
		}
		if v := invoicebox.Classify(x); v.Outcome != invoicebox.Unreadable {
			t.Errorf("%q: %+v", body, v)
		}
		mustNotLeak(t, x, "")
	}
	for name, x := range map[string]invoicebox.Exchange{
		"another operation": complete(invoicebox.Invite, 200, goodActivate),
		"no success":        complete(invoicebox.Activate, 400, goodActivate),
		"incomplete":        {Operation: invoicebox.Activate, Status: 200, Body: []byte(goodActivate)},
		"too large":         {Operation: invoicebox.Activate, Status: 200, Body: []byte(goodActivate), BodyComplete: true, TooLarge: true},
	} {
		if _, err := invoicebox.ParseActivation(x); !errors.Is(err, invoicebox.ErrUnreadable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseCheck(t *testing.T) {
	valid, invalid, open := invoicebox.CheckResult{Valid: true, Conclusive: true}, invoicebox.CheckResult{Conclusive: true}, invoicebox.CheckResult{}
	for _, c := range []struct {
		status     int
		body       string
		want       invoicebox.CheckResult
		unreadable bool
	}{
		{200, goodCheck, valid, false},
		{200, `{"data":{"userId":7}}`, valid, false},
		{200, `{"data":{"userId":null,"profile":null}}`, invalid, false},
		{200, `{"data":{"userId":""}}`, open, true},
		{200, `{"data":{"userId":false}}`, open, true},
		{200, `{"data":{"userid":"7"}}`, open, true},
		{401, `{"error":{"code":"unauthorized"}}`, invalid, false},
		{401, ``, invalid, false},
		{403, `{"error":{"code":"forbidden"}}`, invalid, false},
		{403, `<html>`, open, false},
		{404, `<html>`, open, false},
		{429, ``, open, false},
		{500, goodCheck, open, false},
		{0, ``, open, false},
	} {
		for _, op := range checks {
			got, err := invoicebox.ParseCheck(complete(op, c.status, c.body))
			if got != c.want || errors.Is(err, invoicebox.ErrUnreadable) != c.unreadable || (err != nil) != c.unreadable {
				t.Errorf("%d %s: %+v %v", c.status, c.body, got, err)
			}
		}
	}
	for _, body := range unreadableBodies {
		if got, err := invoicebox.ParseCheck(complete(invoicebox.Check, 200, body)); !errors.Is(err, invoicebox.ErrUnreadable) || got != open {
			t.Errorf("%q: %+v %v", body, got, err)
		}
	}
}

func TestCodes(t *testing.T) {
	for code, want := range map[string]string{
		"wrong_code":            "wrong_code",
		"not_found":             "not_found",
		"Wrong-Code":            "",
		"143232423434":          "",
		"a b":                   "",
		strings.Repeat("a", 64): strings.Repeat("a", 64),
		strings.Repeat("a", 65): "",
		"x_http_exception":      "x_http_exception",
	} {
		v := invoicebox.Classify(complete(invoicebox.Activate, 422, `{"error":{"code":"`+code+`"}}`))
		if v.Code != want {
			t.Errorf("%q gives %q, want %q", code, v.Code, want)
		}
	}
}

// A server that sends back what it got must not bring it into logs.
func TestEchoes(t *testing.T) {
	const code = "abc_marked_1432"
	for name, text := range map[string]string{
		"plain":   `{"error":{"code":"` + code + `"}}`,
		"longer":  `{"error":{"code":"used_` + code + `"}}`,
		"escaped": `{"error":{"code":"\u0061bc_marked_1432"}}`,
	} {
		m := &memory{handle: func(s *served) {
			s.request()
			s.say(answer(422, text, "X-Request-Id: second", "Retry-After: "+code))
		}}
		client, log := newClient(t, options("http://127.0.0.1", m.transport()))
		x := client.Activate(t.Context(), invoicebox.CallOptions{}, secret.New(strings.ToUpper(code)))
		if v := invoicebox.Classify(x); v.Outcome != invoicebox.Refused || v.Code != "" || !x.EchoesSecret {
			t.Errorf("%s: %+v, echo %t", name, v, x.EchoesSecret)
		}
		if strings.Contains(log.String(), code) {
			t.Errorf("%s: %s", name, log)
		}
	}
	m := &memory{handle: func(s *served) {
		s.request()
		s.say("HTTP/1.1 200 OK\r\nX-Request-Id: id-" + markedCode + "\r\nContent-Length: 0\r\n\r\n")
	}}
	client, log := newClient(t, options("http://127.0.0.1", m.transport()))
	x := perform(t.Context(), client, invoicebox.Activate, invoicebox.CallOptions{})
	if x.RequestID != "" || x.Header.Get("X-Request-Id") != "" {
		t.Errorf("request id %q", x.RequestID)
	}
	mustNotLeak(t, x, log.String())
}

func TestReceipts(t *testing.T) {
	at := time.Date(2026, 11, 23, 1, 2, 3, 4, time.UTC)
	for name, x := range map[string]invoicebox.Exchange{
		"least": {Operation: invoicebox.Invite},
		"most": {Operation: invoicebox.Activate, Status: 200, BodyComplete: true, TooLarge: true, EchoesSecret: true,
			Header: http.Header{"Content-Type": {"a"}, "Retry-After": {"7"}, "X-Request-Id": {"id"}},
			Body:   []byte(goodActivate), Written: 1 << 30, Tries: 2, RequestID: "id", Started: at, Finished: at.Add(time.Second)},
	} {
		data, err := x.MarshalReceipt()
		if err != nil {
			t.Fatal(err)
		}
		back, err := invoicebox.UnmarshalReceipt(data)
		if diff := cmp.Diff(x, back, cmpopts.EquateApproxTime(0)); diff != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, diff)
		}
		for cut := range len(data) {
			if _, err := invoicebox.UnmarshalReceipt(data[:cut]); !errors.Is(err, invoicebox.ErrReceipt) {
				t.Errorf("%s: cut at %d: %v", name, cut, err)
			}
		}
		if _, err := invoicebox.UnmarshalReceipt(append(data, 0)); !errors.Is(err, invoicebox.ErrReceipt) {
			t.Errorf("%s: with a byte more: %v", name, err)
		}
		data = bytes.Replace(data, []byte(`"version":1`), []byte(`"version":2`), 1)
		if _, err := invoicebox.UnmarshalReceipt(data); !errors.Is(err, invoicebox.ErrReceipt) {
			t.Errorf("%s: of another version: %v", name, err)
		}
	}
	if _, err := (invoicebox.Exchange{Body: make([]byte, 2<<20)}).MarshalReceipt(); err == nil {
		t.Error("a huge body has a receipt")
	}
}
