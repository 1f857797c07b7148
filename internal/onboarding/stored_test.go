package onboarding

import (
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

// A token that stopped working after its answer had been erased is checked
// again all the same: it is in the credential store.
func TestARetryWithoutTheAnswer(t *testing.T) {
	for name, damaged := range map[string]bool{"stored": false, "damaged": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				office := &tokenOffice{}
				b := newBench(t, office.script)
				b.cfg.VerifyEvery = every
				op := b.add(journal.Activate, "shop-1", "code-1")
				b.start()
				b.until(time.Minute, "settled", b.j.settled)
				office.say(refusal(401), nil)
				b.eventually(2*every, "in attention", func() bool { s, _ := b.j.state(op); return s == journal.Attention })
				b.j.mu.Lock()
				op.Receipt = nil
				if damaged {
					op.Credential.Sealed = []byte("damaged")
				}
				b.j.mu.Unlock()
				office.say(answer{}, nil)
				b.act(op, CommandRetry, ResultChecking)
				b.until(time.Minute, "settled", b.j.settled)
				b.finish()
				if damaged {
					b.expect(op, journal.Attention, ReasonAnswerNotAuthentic, "activated verified", "credentials_invalid", "activation_failed answer_unreadable contact_support false")
					return
				}
				b.expect(op, journal.Done, ReasonActivated, "activated verified", "credentials_invalid", "activated verified")
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
func TestAnAnswerOlderThanTheCredentialsInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, (&tokenOffice{}).script)
		newer := b.add(journal.Activate, "shop-1", "same-2")
		newer.version = 3
		older := b.add(journal.Activate, "shop-1", "same-1") // behind it in the lane
		older.version = 1
		b.start()
		b.until(time.Minute, "settled", b.j.settled)
		b.finish()
		b.expect(newer, journal.Done, ReasonActivated, "activated verified")
		b.expect(older, journal.Superseded, ReasonNewerCode)
		if b.j.active[older.Shop].Operation != newer.UUID || len(b.j.creds[older.Shop]) != 2 || len(b.api.asked(invoicebox.Activate)) != 2 {
			t.Errorf("%+v, %d credentials", b.j.active[older.Shop], len(b.j.creds[older.Shop]))
		}
	})
}
