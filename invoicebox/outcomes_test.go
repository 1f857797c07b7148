package invoicebox_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
)

// An example is a wire-level way into a row of the outcome table.
type example struct {
	row     string
	ops     []invoicebox.Operation
	answer  func(op invoicebox.Operation) string // after it the connection is closed
	hold    bool                                 // … is held until the other side gives up
	dial    error                                // no connection comes about
	unread  bool                                 // the server closes before it reads
	badCode bool                                 // the value cannot be sent
}

var (
	all     = []invoicebox.Operation{invoicebox.Invite, invoicebox.Activate, invoicebox.Check, invoicebox.CheckOwn}
	effects = all[:2]
	checks  = all[2:]
	own     = []invoicebox.Operation{invoicebox.Invite, invoicebox.Activate, invoicebox.CheckOwn}
)

func says(text string) func(invoicebox.Operation) string {
	return func(invoicebox.Operation) string { return text }
}

func failure(status int, code string, fields ...string) func(invoicebox.Operation) string {
	list := make([]string, len(fields))
	for i, f := range fields {
		list[i] = fmt.Sprintf(`{"name":%q,"code":"wrong_value","message":"m"}`, f)
	}
	return says(answer(status, fmt.Sprintf(`{"error":{"message":"m","code":%q,"fields":[%s]}}`, code, strings.Join(list, ","))))
}

// blaming names the shop's own value.
func blaming(status int, code string) func(invoicebox.Operation) string {
	return func(op invoicebox.Operation) string {
		field := "identifier"
		if op == invoicebox.Activate {
			field = "activationCode"
		}
		return failure(status, code, field)(op)
	}
}

// short cuts the last bytes off.
func short(text string) string { return text[:len(text)-9] }

var examples = []example{
	{row: "value_unsendable", ops: []invoicebox.Operation{invoicebox.Invite, invoicebox.Activate, invoicebox.Check}, badCode: true},
	{row: "nothing_written", ops: all, dial: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}},
	{row: "nothing_written", ops: all, dial: &net.DNSError{Err: "no such host", Name: "h"}},
	{row: "nothing_written", ops: all, unread: true},
	{row: "lost", ops: effects, answer: says("")},
	{row: "lost", ops: effects, answer: says(""), hold: true},
	{row: "lost", ops: effects, answer: says("HTTP/1.1 2")},
	{row: "lost", ops: effects, answer: says("SMTP 220 ready when you are\r\n\r\n")},
	{row: "lost", ops: effects, answer: says("HTTP/1.1 000 x\r\n\r\n")},
	{row: "lost_check", ops: checks, answer: says("")},
	{row: "too_early", ops: all, answer: says(answer(425, ""))},
	{row: "limited", ops: all, answer: says(answer(429, ""))},
	{row: "limited", ops: all, answer: failure(429, "too_many_requests", "partnerId")},
	{row: "request_timeout", ops: effects, answer: says(answer(408, ""))},
	{row: "unavailable", ops: effects, answer: says(answer(503, "<html>"))},
	{row: "check_put_off", ops: checks, answer: says(answer(503, "<html>"))},
	{row: "check_put_off", ops: checks, answer: says(answer(408, ""))},
	{row: "token_of_nobody", ops: checks[:1], answer: says(answer(200, `{"data":{"userId":null}}`))},
	{row: "own_token_of_nobody", ops: checks[1:], answer: says(answer(200, `{"data":{"userId":null}}`))},
	{row: "done", ops: all, answer: func(op invoicebox.Operation) string { return answer(200, good(op)) }},
	{row: "done", ops: all, answer: func(op invoicebox.Operation) string { return answer(202, good(op), "Content-Type: text/html") }},
	{row: "unreadable_cut", ops: all, answer: func(op invoicebox.Operation) string { return short(answer(200, good(op))) }},
	{row: "unreadable_cut", ops: all, answer: says("HTTP/1.1 200 OK\r\nContent-Le")},
	{row: "unreadable_cut", ops: all, answer: says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"), hold: true},
	{row: "unreadable_large", ops: all, answer: says(answer(200, `{"data":{"id":1,"x":"`+strings.Repeat("x", 70<<10)+`"}}`))},
	{row: "unreadable", ops: all, answer: says(answer(200, "<html>"))},
	{row: "unreadable", ops: all, answer: says(answer(204, ""))},
	{row: "unreadable", ops: all, answer: func(op invoicebox.Operation) string {
		return answer(200, `{"error":{"code":"x"},`+good(op)[1:])
	}},
	{row: "unreadable", ops: []invoicebox.Operation{invoicebox.Activate}, answer: says(answer(200, `{"data":{"merchantId":"m"}}`))},
	{row: "token_refused", ops: checks[:1], answer: failure(401, "unauthorized")},
	{row: "token_refused", ops: checks[:1], answer: says(answer(401, "<html>"))},
	{row: "token_forbidden", ops: checks[:1], answer: failure(403, "forbidden")},
	{row: "token_forbidden_by_code", ops: checks[:1], answer: failure(403, "token_revoked")},
	{row: "unauthorized", ops: own, answer: failure(401, "unauthorized")},
	{row: "unauthorized", ops: own, answer: says(answer(401, ""))},
	{row: "forbidden", ops: own, answer: failure(403, "forbidden")},
	{row: "forbidden", ops: all, answer: says(answer(403, "<html>"))},
	{row: "refused", ops: effects, answer: failure(400, "wrong_code")},
	{row: "refused", ops: effects, answer: failure(404, "not_found")},
	{row: "refused", ops: effects, answer: blaming(422, "validation")},
	{row: "refused", ops: effects, answer: blaming(409, "already_used")},
	{row: "refused", ops: effects, answer: says(answer(422, `{"code":"wrong_code","message":"m"}`))},
	{row: "refused", ops: effects, answer: says(answer(422, `{"error":{"code":"Wrong-Code","fields":{}}}`))},
	{row: "account_refused", ops: effects, answer: failure(400, "unauthorized")},
	{row: "partner_id_refused", ops: effects, answer: failure(422, "validation", "partnerId")},
	{row: "partner_id_refused", ops: all, answer: failure(400, "validation", "type", "partnerId")},
	{row: "wrong_address", ops: all, answer: says(answer(404, "<html>not here</html>"))},
	{row: "wrong_address", ops: all, answer: says(answer(404, ""))},
	{row: "wrong_address", ops: all, answer: failure(404, "not_found_http_exception")},
	{row: "wrong_address", ops: all, answer: failure(405, "method_not_allowed_http_exception")},
	{row: "redirected", ops: all, answer: says(answer(301, "", "Location: https://other.example/"))},
	{row: "redirected", ops: all, answer: says(answer(302, "", "Location: :%zz//\x7f"))},
	{row: "redirected", ops: all, answer: says(answer(307, "", "Location: /"))},
	{row: "redirected", ops: all, answer: failure(302, "moved", "activationCode")},
	{row: "request_refused", ops: effects, answer: failure(422, "validation", "type")},
	{row: "request_refused", ops: effects, answer: failure(422, "validation", "identifier", "activationCode")},
	{row: "request_refused", ops: all, answer: says(answer(422, "<html>"))},
	{row: "request_refused", ops: all, answer: says(answer(400, `{"error":{"message":"no code"}}`))},
	{row: "request_refused", ops: all, answer: says(short(answer(400, `{"error":{"code":"wrong_code"}}`)))},
	{row: "request_refused", ops: all, answer: says(answer(415, ""))},
	{row: "request_refused", ops: all, answer: failure(402, "pay_first")},
	{row: "server_error", ops: effects, answer: failure(500, "server_error")},
	{row: "server_error", ops: effects, answer: says(answer(502, "<html>"))},
	{row: "server_error_check", ops: checks, answer: says(answer(504, ""))},
	{row: "odd_status", ops: all, answer: says(answer(999, goodInvite))},
	{row: "odd_status", ops: all, answer: says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n")},
}

// play makes the call of an example in virtual time.
func (e example) play(t *testing.T, op invoicebox.Operation) (x invoicebox.Exchange, requests int64, log string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &memory{handle: func(s *served) {
			if e.unread {
				return
			}
			if _, _, ok := s.request(); ok && s.say(e.answer(op)) && e.hold {
				s.hold()
			}
		}}
		dial := m.dial
		if e.dial != nil {
			dial = func(context.Context, string, string) (net.Conn, error) { return nil, e.dial }
		}
		transport := invoicebox.NewTransport(invoicebox.TransportOptions{Dial: dial})
		c, l := newClient(t, options("http://127.0.0.1", transport))
		switch {
		case e.badCode && op == invoicebox.Check:
			x = c.CheckToken(t.Context(), invoicebox.CallOptions{}, secret.New(markedShopToken+"\r\n"))
		case e.badCode && op == invoicebox.Invite:
			x = c.Invite(t.Context(), invoicebox.CallOptions{}, secret.New(markedEmail+"\xff"))
		case e.badCode:
			x = c.Activate(t.Context(), invoicebox.CallOptions{}, secret.New(strings.Repeat(markedCode, 100)))
		default:
			x = perform(t.Context(), c, op, invoicebox.CallOptions{SendBy: time.Now().Add(10 * time.Second)})
		}
		transport.Close()
		m.wait.Wait()
		requests, log = m.requests.Load(), l.String()
	})
	return x, requests, log
}

func TestEveryRowHasItsExamples(t *testing.T) {
	rows := invoicebox.OutcomeRules()
	seen := map[string][]invoicebox.Operation{}
	for i, e := range examples {
		at := slices.IndexFunc(rows, func(r invoicebox.OutcomeRule) bool { return r.Name == e.row })
		if at < 0 {
			t.Fatalf("example %d: no row %q", i, e.row)
		}
		row := rows[at]
		for _, op := range e.ops {
			t.Run(fmt.Sprintf("%02d %s %s", i, e.row, op), func(t *testing.T) {
				x, requests, log := e.play(t, op)
				v := invoicebox.Classify(x)
				if v.Rule != row.Name || v.Outcome != row.Outcome || v.Fault != row.Fault || v.Doubt != row.Doubt {
					t.Errorf("got %+v (status %d, written %d, %v), want row %s %s", v, x.Status, x.Written, x.Err, row.Name, row.Outcome)
				}
				if v.Reason == "" || v.Reason == invoicebox.ReasonInternal || (row.Reason != "" && v.Reason != row.Reason) {
					t.Errorf("reason %q", v.Reason)
				}
				if (x.Written == 0) != (requests == 0) || requests > 1 {
					t.Errorf("written %d, but the server saw %d requests", x.Written, requests)
				}
				mustNotLeak(t, x, log)

				data, err := x.MarshalReceipt()
				if err != nil {
					t.Fatal(err)
				}
				back, err := invoicebox.UnmarshalReceipt(data)
				if err != nil {
					t.Fatal(err)
				}
				if after := invoicebox.Classify(back); after != v {
					t.Errorf("after the receipt %+v, before it %+v", after, v)
				}
			})
			seen[e.row] = append(seen[e.row], op)
		}
	}
	for _, r := range rows {
		for _, op := range r.Operations {
			if !slices.Contains(seen[r.Name], op) && !(r.Name == "value_unsendable" && op == invoicebox.CheckOwn) &&
				!(r.Name == "partner_id_refused" && op > invoicebox.Activate) {
				t.Errorf("row %s has no example for %s", r.Name, op)
			}
		}
		if r.Name == "" || r.Outcome == 0 || len(r.Statuses) == 0 || r.Body() == "" || (r.Outcome == invoicebox.OurFault) != (r.Fault != invoicebox.FaultNone) {
			t.Errorf("row %+v is not whole", r)
		}
	}
}

// The promises of the design, line by line and apart from the table's own words.
func TestTableKeepsTheDesign(t *testing.T) {
	type want struct {
		outcome invoicebox.Outcome
		doubt   bool
	}
	body := func(code, field string) string {
		if field != "" {
			field = `{"name":"` + field + `"}`
		}
		return `{"error":{"code":"` + code + `","fields":[` + field + `]}}`
	}
	for _, c := range []struct {
		what string
		x    invoicebox.Exchange
		want want
	}{
		{"425", invoicebox.Exchange{Status: 425}, want{invoicebox.NotExecuted, false}},
		{"429", invoicebox.Exchange{Status: 429}, want{invoicebox.Limited, false}},
		{"408", invoicebox.Exchange{Status: 408}, want{invoicebox.ProbablyNotExecuted, true}},
		{"503", invoicebox.Exchange{Status: 503}, want{invoicebox.ProbablyNotExecuted, true}},
		{"401", invoicebox.Exchange{Status: 401}, want{invoicebox.Unauthorized, false}},
		{"403", invoicebox.Exchange{Status: 403, Body: []byte(body("rule", ""))}, want{invoicebox.OurFault, false}},
		{"304", invoicebox.Exchange{Status: 304}, want{invoicebox.OurFault, false}},
		{"418", invoicebox.Exchange{Status: 418, Body: []byte(body("rule", ""))}, want{invoicebox.OurFault, false}},
		{"500", invoicebox.Exchange{Status: 500, Body: []byte(body("rule", ""))}, want{invoicebox.Unknown, true}},
		{"504", invoicebox.Exchange{Status: 504}, want{invoicebox.Unknown, true}},
		{"no status", invoicebox.Exchange{}, want{invoicebox.Unknown, true}},
	} {
		for _, op := range effects {
			c.x.Operation, c.x.BodyComplete, c.x.Written = op, true, 300
			if v := invoicebox.Classify(c.x); v.Outcome != c.want.outcome || v.Doubt != c.want.doubt {
				t.Errorf("%s %s: %+v", op, c.what, v)
			}
		}
	}
	for _, status := range []int{400, 404, 409, 422} {
		for _, op := range effects {
			field := map[invoicebox.Operation]string{invoicebox.Invite: "identifier", invoicebox.Activate: "activationCode"}[op]
			for text, outcome := range map[string]invoicebox.Outcome{
				body("rule", ""):                             invoicebox.Refused,
				body("rule", field):                          invoicebox.Refused,
				`{"code":"rule"}`:                            invoicebox.Refused,
				`{"error":{"code":"rule","fields":null}}`:    invoicebox.Refused,
				body("rule", "partnerId"):                    invoicebox.OurFault,
				body("rule", "type"):                         invoicebox.OurFault,
				body("rule", strings.ToUpper(field)):         invoicebox.OurFault,
				body("x_http_exception", ""):                 invoicebox.OurFault,
				`{"code":"x_http_exception"}`:                invoicebox.OurFault,
				`{"Error":{"code":"rule"}}`:                  invoicebox.OurFault,
				`{"error":{"code":"a","code":"b"}}`:          invoicebox.OurFault,
				`{"error":{"code":7}}`:                       invoicebox.OurFault,
				`{"error":{"code":"rule","fields":"x"}}`:     invoicebox.OurFault,
				`{"error":{"code":"rule","fields":[7]}}`:     invoicebox.OurFault,
				`{"error":{"code":"rule","fields":[{}]}}`:    invoicebox.OurFault,
				`{"error":{"code":"rule","fields":{"a":1}}}`: invoicebox.OurFault,
				`<html>`: invoicebox.OurFault,
				``:       invoicebox.OurFault,
				`[]`:     invoicebox.OurFault,
			} {
				x := invoicebox.Exchange{Operation: op, Status: status, Body: []byte(text), BodyComplete: true, Written: 300}
				if v := invoicebox.Classify(x); v.Outcome != outcome || v.Doubt {
					t.Errorf("%s %d %s: %+v, want %s", op, status, text, v, outcome)
				}
				x.BodyComplete = false
				if v := invoicebox.Classify(x); v.Outcome != invoicebox.OurFault {
					t.Errorf("%s %d %s cut: %+v", op, status, text, v)
				}
			}
		}
	}
}

// No exchange falls through the table.
func TestTableIsTotal(t *testing.T) {
	bodies := []string{"", "<html>", goodInvite, goodActivate, goodCheck, `{"data":{"userId":null}}`, `{"code":"rule"}`, `{"code":"unauthorized"}`,
		`{"error":{"code":"rule","fields":[{"name":"partnerId"}]}}`, `{"error":{"code":"rule","fields":[{"name":"x"}]}}`,
		`{"error":{"code":"rule","fields":[{"name":"identifier"}]}}`, `{"error":{"code":"rule","fields":[{"name":"activationCode"}]}}`}
	for status := range 1000 {
		for _, op := range all {
			for _, body := range bodies {
				for _, written := range []int64{0, 300} {
					x := invoicebox.Exchange{Operation: op, Status: status, Body: []byte(body), BodyComplete: true, Written: written}
					if v := invoicebox.Classify(x); v.Rule == "" || v.Outcome == 0 {
						t.Fatalf("%s %d %s, %d written: %+v", op, status, body, written, v)
					}
				}
			}
		}
	}
	if v := invoicebox.Classify(invoicebox.Exchange{}); v.Outcome != invoicebox.Unknown || !v.Doubt {
		t.Errorf("an empty exchange: %+v", v)
	}
}
