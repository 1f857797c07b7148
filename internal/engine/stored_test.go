package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

// A token that stopped working after its answer had been erased is checked
// again all the same: it is in the credential store.
func TestStoredToken_RetryWithoutTheAnswer(t *testing.T) {
	for name, damaged := range map[string]bool{"stored": false, "damaged": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				office := &tokenChecks{}
				b := newHarness(t, office.script)
				b.cfg.VerifyEvery = every
				op := b.add(journal.Activate, "shop-1", "code-1")
				b.start()
				b.until(time.Minute, "settled", b.j.settled)
				office.say(refusal(401), nil)
				b.eventually(2*every, "in attention", func() bool { s, _ := b.j.state(op); return s == journal.Attention })
				b.j.exec("UPDATE attempt SET answer = NULL WHERE operation = ?", op.id)
				if damaged {
					b.j.exec("UPDATE credential SET secret = ? WHERE operation = ?", []byte("damaged"), op.id)
				}
				office.say(answer{}, nil)
				b.act(op, onboarding.ActionRetry, onboarding.ResultChecking)
				b.until(time.Minute, "settled", b.j.settled)
				b.finish()
				if damaged {
					b.expect(op, journal.Attention, onboarding.ReasonAnswerNotAuthentic, "activated verified", "credentials_invalid", "activation_failed answer_unreadable contact_support false")
					return
				}
				b.expect(op, journal.Done, onboarding.ReasonActivated, "activated verified", "credentials_invalid", "activated verified")
				events := b.j.eventsOf(op)
				first, last := decoded(t, events[0]).(schemas.Activated), decoded(t, events[2]).(schemas.Activated)
				if !last.ActivatedAt.Equal(first.ActivatedAt) || last.Credentials.Ref != first.Credentials.Ref {
					t.Errorf("%+v became %+v", first, last)
				}
			})
		})
	}
}

// An answer whose version was given out before a restore, and whose shop has
// newer credentials by now, is stored beside them and does not hold the lane.
func TestStoredToken_AnswerOlderThanTheCredentialsInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newHarness(t, (&tokenChecks{}).script)
		newer := b.add(journal.Activate, "shop-1", "same-2")
		older := b.add(journal.Activate, "shop-1", "same-1")
		b.received(newer, "attempt/2", `{"data":{"merchantId":"m-same","token":"token-same-2"}}`)
		b.j.put(older, journal.Received, func(t *journal.Transition) {
			t.EnteredFor, t.Due = "attempt/1", time.Now().Add(time.Second) // behind it
			t.Entered = b.sealed(older, t.EnteredFor, `{"data":{"merchantId":"m-same","token":"token-same-1"}}`)
		})
		b.j.edit("UPDATE operation SET version = 3 WHERE id = ?", newer.id)
		b.j.edit("UPDATE operation SET version = 1 WHERE id = ?", older.id)
		b.start()
		b.until(time.Minute, "settled", b.j.settled)
		b.finish()
		b.expect(newer, journal.Done, onboarding.ReasonActivated, "activated verified")
		b.expect(older, journal.Superseded, onboarding.ReasonNewerCode)
		if active := b.j.shop(older.Shop).Active; active.Operation != newer.UUID || active.Version != 3 || len(b.j.credentials(older.Shop)) != 2 || len(b.api.asked(invoicebox.Activate)) != 0 {
			t.Errorf("%+v, %d credentials", active, len(b.j.credentials(older.Shop)))
		}
	})
}
