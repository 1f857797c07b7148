package onboarding

import (
	"testing"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

func TestVerificationRules(t *testing.T) {
	states := []journal.CredentialState{journal.CredentialPending, journal.CredentialVerified, journal.CredentialInvalid}
	for _, s := range states {
		for _, a := range []journal.ReviewAnswer{journal.ReviewSilent, journal.ReviewAccepted, journal.ReviewRefused} {
			for _, confirmed := range []bool{false, true} {
				n := 0
				for _, r := range verificationRules {
					if r.State == s && r.Answer == a && r.Confirmed == confirmed {
						n++
					}
				}
				if want := map[bool]int{false: 1, true: map[bool]int{true: 1}[a == journal.ReviewRefused]}[confirmed]; n != want {
					t.Errorf("%v, answer %d, confirmed %v: %d rows, want %d", s, a, confirmed, n, want)
				}
			}
		}
	}
	for _, r := range verificationRules {
		told := map[journal.CredentialState]string{journal.CredentialVerified: schemas.TypeCredentialsVerified, journal.CredentialInvalid: schemas.TypeCredentialsInvalid}
		switch {
		case r.To == r.State && (r.Event != "" || r.Move != nil):
			t.Errorf("%+v: says what everybody knows", r)
		case r.To != r.State && r.Event != told[r.To]:
			t.Errorf("%+v: nobody hears of it", r)
		case r.Answer == journal.ReviewSilent && r.To != r.State:
			t.Errorf("%+v: silence proves something", r)
		case r.To == journal.CredentialInvalid && r.State != r.To && (!r.Confirmed || r.Move != ToAttention):
			t.Errorf("%+v: not confirmed, or nobody looks", r)
		case (r.State == journal.CredentialInvalid && r.To != r.State) != (r.Move == FromAttention):
			t.Errorf("%+v: the attention does not end, or ends too soon", r)
		}
		if got := VerificationRuleOf(r.State, r.Answer, r.Confirmed); got.To != r.To || got.Event != r.Event {
			t.Errorf("%+v is not found", r)
		}
	}
	for _, m := range []*journal.ActivationMove{ToAttention, FromAttention, Replaced} {
		if !Permitted(m.From, m.To) {
			t.Errorf("no edge for %+v", m)
		}
	}
}
