package invoicebox_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
)

// Whatever a server answers, the classification keeps its promises and a receipt
// changes nothing.
func FuzzClassify(f *testing.F) {
	for _, body := range append([]string{goodInvite, goodActivate, goodCheck,
		`{"error":{"message":"m","code":"wrong_value","fields":[{"name":"activationCode","code":"c","message":"m"}]}}`,
		`{"code":"x_http_exception"}`, `{"error":{"code":"a","fields":[]}}`}, unreadableBodies...) {
		f.Add(uint8(2), 200, []byte(body), true, "5")
		f.Add(uint8(1), 422, []byte(body), true, "-5")
		f.Add(uint8(3), 403, []byte(body), false, "Mon, 23 Nov 2026 12:00:30 GMT")
	}
	f.Fuzz(func(t *testing.T, op uint8, status int, body []byte, whole bool, header string) {
		x := invoicebox.Exchange{
			Operation: invoicebox.Operation(op%4) + invoicebox.Invite, Status: (status%1000 + 1000) % 1000,
			Body: body, BodyComplete: whole, Written: 300, Finished: time.Unix(1795435200, 0),
			Header: http.Header{"Retry-After": {header}, "Ratelimit": {header}, "X-Ratelimit-Reset": {header}, "Date": {header}},
		}
		v := invoicebox.Classify(x)
		if v.Outcome == 0 || v.Reason == "" || (v.Rule == "" && x.Status != 0) || v.RetryAfter < 0 || v.RetryAfter > invoicebox.MaxRetryAfter || v.RateLimitReset < 0 || v.RateLimitReset > invoicebox.MaxRetryAfter {
			t.Fatalf("%+v", v)
		}
		for _, c := range v.Code {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
				t.Fatalf("code %q", v.Code)
			}
		}
		if v.Outcome == invoicebox.Done && (!x.Success() || !whole) {
			t.Fatalf("%d is done", x.Status)
		}
		if v.Outcome == invoicebox.Refused && x.Operation <= invoicebox.Activate && !whole {
			t.Fatal("refused by half a response")
		}
		a, err := invoicebox.ParseActivation(x)
		if x.Operation == invoicebox.Activate && (err == nil) != (v.Outcome == invoicebox.Done) {
			t.Fatalf("%+v, %v", v, err)
		}
		if err == nil && (a.Token.IsZero() || a.MerchantID == "" || a.MerchantID == a.Token.Reveal() || len(a.MerchantID) > 36) {
			t.Fatalf("activation %+v", a)
		}
		i, inviteErr := invoicebox.ParseInvitation(x)
		if inviteErr == nil && len(i.ID) > 128 {
			t.Fatalf("invitation %+v", i)
		}
		if c, got := invoicebox.ReadInvitation(x); c != v || got != i {
			t.Fatalf("ReadInvitation: %+v, %+v, want %+v, %+v", c, got, v, i)
		}
		both, c, checkErr := invoicebox.ReadCheck(x)
		read, b, readErr := invoicebox.ReadActivation(x)
		if read != v || b.MerchantID != a.MerchantID || !b.Token.Equal(a.Token) || (readErr == nil) != (err == nil) {
			t.Fatalf("ReadActivation: %+v, %+v, %v, want %+v, %+v, %v", read, b, readErr, v, a, err)
		}
		check, err := invoicebox.ParseCheck(x)
		if both != v || c != check || (checkErr == nil) != (err == nil) {
			t.Fatalf("ReadCheck: %+v, %+v, %v, want %+v, %+v, %v", both, c, checkErr, v, check, err)
		}
		if (check.Valid && !check.Conclusive) || (err != nil && check.Conclusive) {
			t.Fatalf("check %+v, %v", check, err)
		}
		data, err := x.MarshalReceipt()
		if err != nil {
			return // too large
		}
		back, err := invoicebox.UnmarshalReceipt(data)
		if err != nil {
			t.Fatal(err)
		}
		if after := invoicebox.Classify(back); after != v && len(header) <= 256 {
			t.Fatalf("%+v became %+v", v, after)
		}
	})
}

func FuzzUnmarshalReceipt(f *testing.F) {
	for _, x := range []invoicebox.Exchange{
		{Operation: invoicebox.Invite},
		{Operation: invoicebox.Activate, Status: 200, BodyComplete: true, Body: []byte(goodActivate), Written: 400, Tries: 1, RequestID: "r",
			Header: http.Header{"Date": {"d"}}, Started: time.Unix(5, 6), Finished: time.Unix(7, 8)},
	} {
		data, err := x.MarshalReceipt()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := invoicebox.UnmarshalReceipt(data)
		if err != nil {
			if !errors.Is(err, invoicebox.ErrReceipt) {
				t.Fatal(err)
			}
			return
		}
		again, err := x.MarshalReceipt()
		if err != nil {
			t.Fatal(err)
		}
		y, err := invoicebox.UnmarshalReceipt(again)
		if err != nil || invoicebox.Classify(x) != invoicebox.Classify(y) || !bytes.Equal(x.Body, y.Body) {
			t.Fatalf("%v: %+v, %+v", err, x, y)
		}
	})
}

// Whatever bytes come back, the call ends, says nothing of them, and only
// whole responses are done.
func FuzzWire(f *testing.F) {
	for _, e := range examples {
		if e.answer != nil {
			f.Add([]byte(e.answer(invoicebox.Activate)))
		}
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		m := &memory{handle: func(s *served) {
			s.request()
			_, _ = s.Write(reply)
		}}
		transport := m.transport()
		o := options("http://127.0.0.1", transport)
		client, err := invoicebox.New(o)
		if err != nil {
			t.Fatal(err)
		}
		x := client.Activate(t.Context(), invoicebox.CallOptions{}, secret.New(markedCode))
		transport.Close()
		m.wait.Wait()
		if m.requests.Load() != 1 || x.Tries != 1 || x.Written == 0 {
			t.Fatalf("%d requests, %d tries", m.requests.Load(), x.Tries)
		}
		if (x.Err == nil) && (x.Status == 0 || !x.BodyComplete) && x.Status != http.StatusSwitchingProtocols {
			t.Fatalf("no error: %+v", x)
		}
		if len(x.Body) > invoicebox.DefaultMaxResponseBytes {
			t.Fatalf("%d bytes", len(x.Body))
		}
		if x.Err != nil && leaks(fmt.Sprintf("%v %+v", x.Err, x.Err)) != nil {
			t.Fatal(x.Err)
		}
		invoicebox.Classify(x)
	})
}
