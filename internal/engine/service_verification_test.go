package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// Over the real journal: tokens that nobody could check are announced as
// pending, and looked at until Invoicebox says something of them, across
// restarts; the credentials that the last word names resolve.
func TestService_PendingOverRealJournal(t *testing.T) {
	s := newService(t, calm())
	s.change = func(c *engine.Config) {
		c.VerifyFor, c.VerificationBase, c.VerificationCap, c.RestBase = time.Second, 100*time.Millisecond, 500*time.Millisecond, 10*time.Millisecond
		c.VerifyEvery = onboarding.NoVerifyEvery
	}
	ends := map[string]string{"code-1": schemas.TypeCredentialsVerified, "code-2": schemas.TypeCredentialsInvalid}
	for code := range ends {
		if err := s.box.AddCode(sandbox.Code{Code: code, MerchantID: "m-" + code, Token: "token-of-" + code}); err != nil {
			t.Fatal(err)
		}
		if err := s.box.AddStub(sandbox.Stub{Operation: sandbox.Check, Match: "m-" + code, Times: 6, Status: 502}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.box.AddStub(sandbox.Stub{Operation: sandbox.Check, Match: "m-code-2", Times: -1, Status: 401}); err != nil {
		t.Fatal(err)
	}
	s.start()
	for code := range ends {
		s.ingest(s.event(journal.Activate, "shop-"+code, code, code))
	}
	s.settle(30 * time.Second)
	s.finish()
	s.start()
	end := time.Now().Add(30 * time.Second)
	for len(s.published()) < 4 {
		if time.Now().After(end) {
			t.Fatalf("published %d events", len(s.published()))
		}
		<-time.After(20 * time.Millisecond)
	}
	got := map[string][]string{}
	for _, e := range s.published() {
		text := e.Type
		var ref string
		switch d := e.Data.(type) {
		case schemas.Activated:
			text += " " + string(d.Verification)
		case schemas.CredentialsVerified:
			ref = d.Credentials.Ref
		case schemas.CredentialsInvalid:
			ref = d.Credentials.Ref
		}
		if ref != "" && !s.resolves(schemas.Activated{MerchantID: "m-" + strings.TrimPrefix(e.Subject, "shop-"), Credentials: schemas.Credentials{Ref: ref}}, strings.TrimPrefix(e.Subject, "shop-")) {
			t.Errorf("%s: %s does not resolve", e.Subject, ref)
		}
		got[e.Subject] = append(got[e.Subject], text)
	}
	for code, last := range ends {
		if want := []string{schemas.TypeActivated + " pending", last}; fmt.Sprint(got["shop-"+code]) != fmt.Sprint(want) {
			t.Errorf("%s: %q, want %q", code, got["shop-"+code], want)
		}
	}
	st, err := s.j.Stats(t.Context())
	if err != nil || st.Attention[string(onboarding.ReasonCredentialsInvalid)] != 1 {
		t.Errorf("attention is %v, %v", st.Attention, err)
	}
	s.finish()
}
