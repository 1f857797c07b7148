package invoicebox_test

import (
	"context"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/invoicebox/sandbox"
)

// inSandbox gives a client of a sandbox without limits and chance.
func inSandbox(t *testing.T, change func(*sandbox.Options)) (*sandbox.Sandbox, *invoicebox.Client) {
	t.Helper()
	o := sandbox.Options{
		Profile: sandbox.Calm, RequestsPerWindow: -1, EgressPerWindow: -1,
		Accounts: []sandbox.Account{{PartnerID: sandbox.DefaultPartnerID, Token: sandbox.DefaultToken, SigningKey: markedKey}},
	}
	if change != nil {
		change(&o)
	}
	s, err := sandbox.New(o)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(s.API())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	options := options(server.URL+o.BasePath, nil)
	options.PartnerID = sandbox.DefaultPartnerID
	options.Token = func() secret.String { return secret.New(o.Accounts[0].Token) }
	options.Deadline = time.Second
	client, _ := newClient(t, options)
	return s, client
}

// The whole way of a shop, under each reading that the documentation leaves open.
func TestOnboardingInTheSandbox(t *testing.T) {
	for name, change := range map[string]func(*sandbox.Options){
		"as it is":     nil,
		"uuid":         func(o *sandbox.Options) { o.InvitationIDs = sandbox.UUIDs },
		"int":          func(o *sandbox.Options) { o.InvitationIDs = sandbox.Ints },
		"a base path":  func(o *sandbox.Options) { o.BasePath = "/some/path" },
		"strict agent": func(o *sandbox.Options) { o.StrictUserAgent = true },
		"another signature": func(o *sandbox.Options) {
			o.Accounts[0].SigningAlgorithm, o.Accounts[0].SigningEncoding = "hmac-sha1", "hex"
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, client := inSandbox(t, change)
			if check, err := invoicebox.ParseCheck(client.CheckOwnToken(t.Context())); err != nil || !check.Valid {
				t.Fatalf("own token: %+v %v", check, err)
			}
			x := client.Invite(t.Context(), invoicebox.CallOptions{}, secret.New("shop@one.example"))
			if i, err := invoicebox.ParseInvitation(x); err != nil || i.ID == "" || x.RequestID == "" {
				t.Fatalf("%+v %v, request id %q, %+v", i, err, x.RequestID, invoicebox.Classify(x))
			}
			a, err := invoicebox.ParseActivation(client.Activate(t.Context(), invoicebox.CallOptions{}, secret.New("143232423434")))
			if err != nil || a.MerchantID != s.MerchantOf("143232423434") || a.Token.Reveal() != s.TokenOf("143232423434") {
				t.Fatalf("%+v %v", a, err)
			}
			if check, err := invoicebox.ParseCheck(client.CheckToken(t.Context(), invoicebox.CallOptions{}, a.Token)); err != nil || !check.Valid {
				t.Errorf("the shop's token: %+v %v", check, err)
			}
			wrong := client.CheckToken(t.Context(), invoicebox.CallOptions{}, secret.New("no-such-token"))
			if check, err := invoicebox.ParseCheck(wrong); err != nil || check.Valid || !check.Conclusive {
				t.Errorf("a wrong token: %+v %v", check, err)
			}
			if v := invoicebox.Classify(wrong); v.Outcome != invoicebox.Refused {
				t.Errorf("a wrong token: %+v", v)
			}
			again := invoicebox.Classify(client.Activate(t.Context(), invoicebox.CallOptions{}, secret.New("143232423434")))
			if again.Outcome != invoicebox.Refused || again.Code == "" {
				t.Errorf("the code again: %+v", again)
			}
			if e := s.Effects(); e.Requests != 6 || e.Invitations[0].Effects != 1 || e.Activations[0].Effects != 1 {
				t.Errorf("%+v", e)
			}
		})
	}
}

// Every fault that the sandbox knows by value, and what the client makes of it.
func TestFaultsOfTheSandbox(t *testing.T) {
	type verdict struct {
		outcome invoicebox.Outcome
		fault   invoicebox.FaultKind
	}
	done, unknown, unreadable := verdict{outcome: invoicebox.Done}, verdict{outcome: invoicebox.Unknown}, verdict{outcome: invoicebox.Unreadable}
	refused, later := verdict{outcome: invoicebox.Refused}, verdict{outcome: invoicebox.ProbablyNotExecuted}
	address := verdict{invoicebox.OurFault, invoicebox.FaultAddress}
	want := map[string]verdict{
		"rejected-": refused, "expired-": refused, "used-": refused, "conflict-": refused, "flat-error-": refused,
		"no-error-code-": {invoicebox.OurFault, invoicebox.FaultRequest},
		"partner-field-": {invoicebox.OurFault, invoicebox.FaultPartnerID},
		"not-found-":     address, "html404-": address, "redirect-": address,
		"unauthorized-": {outcome: invoicebox.Unauthorized},
		"forbidden-":    {invoicebox.OurFault, invoicebox.FaultRights},
		"limited-":      {outcome: invoicebox.Limited},
		"timeout408-":   later, "error503-": later, "error503-after-": later,
		"error500-": unknown, "error500-after-": unknown, "html-": unknown,
		"reset-": unknown, "reset-after-": unknown, "lost-answer-": unknown, "slow-": unknown,
		"cut-headers-": unreadable, "half-body-": unreadable, "broken-json-": unreadable, "empty-body-": unreadable,
		"error200-": unreadable, "html200-": unreadable, "huge-body-": unreadable, "no-token-": unreadable, "drip-": unreadable,
		"wrong-type-": done, "more-members-": done, "same-merchant-": done, "pending-token-": done, "bad-token-": done,
		"null-user-": done, "no-id-": done, "int-id-": done, "uuid-id-": done,
	}
	s, client := inSandbox(t, nil)
	play := func(t *testing.T, f sandbox.FaultWord, subject string, expected verdict, call func(context.Context, invoicebox.CallOptions, secret.String) invoicebox.Exchange) {
		t.Run(subject, func(t *testing.T) {
			t.Parallel()
			x := call(t.Context(), invoicebox.CallOptions{}, secret.New(subject))
			v := invoicebox.Classify(x)
			if v.Outcome != expected.outcome || v.Fault != expected.fault {
				t.Errorf("%+v (status %d, %v), want %s %s", v, x.Status, x.Err, expected.outcome, expected.fault)
			}
			if (f.Word == "limited-" || f.Word == "error503-") && v.RetryAfter != time.Second {
				t.Errorf("wait %s", v.RetryAfter)
			}
			if x.Tries != 1 || x.Written == 0 || x.HasStatus() && x.RequestID == "" {
				t.Errorf("%d tries, %d written, request id %q", x.Tries, x.Written, x.RequestID)
			}
			if x.Err != nil && strings.Contains(x.Err.Error(), subject) {
				t.Errorf("%v", x.Err)
			}
		})
	}
	t.Run("by value", func(t *testing.T) {
		for _, f := range sandbox.Faults() {
			expected, known := want[f.Word]
			if !known {
				t.Errorf("no expectation for %s", f.Word)
				continue
			}
			value := f.Word
			if f.Number == "seconds" {
				value += "2-" // longer than the deadline
			}
			if f.On != "addresses" {
				play(t, f, value+"code", expected, client.Activate)
			}
			if f.On != "codes" {
				play(t, f, value+"shop@one.example", expected, client.Invite)
			}
		}
	})
	for _, r := range s.Effects().Activations {
		if r.Requests != 1 {
			t.Errorf("%d requests for one call", r.Requests)
		}
	}
	for _, r := range s.Effects().Invitations {
		if r.Requests != 1 {
			t.Errorf("%d requests for one call", r.Requests)
		}
	}
}

// Over the limit: 429, and the account's limit keeps counting on the other side.
func TestLimitOfTheSandbox(t *testing.T) {
	for _, bare := range []bool{false, true} {
		_, client := inSandbox(t, func(o *sandbox.Options) { o.RequestsPerWindow, o.BareLimits = 2, bare })
		var outcomes []invoicebox.Outcome
		for range 3 {
			outcomes = append(outcomes, invoicebox.Classify(client.Invite(context.Background(), invoicebox.CallOptions{}, secret.New("shop@one.example"))).Outcome)
		}
		if outcomes[1] != invoicebox.Done || outcomes[2] != invoicebox.Limited {
			t.Errorf("bare %t: %v", bare, outcomes)
		}
	}
}
