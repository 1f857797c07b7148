package engine

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/breaker"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

// Each code is spent for nothing: three are enough. Invitations between them
// say nothing of it.
func TestUnusableResponses_AnswersOfNoUsePause(t *testing.T) {
	for name, c := range map[string]struct {
		body  string
		first int // activations that succeed before
	}{
		"unreadable":           {`{"data":{"merchant":"m","key":"t"}}`, 0},
		"of the same merchant": {body("same", "t"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broken := true
				b := newHarness(t, func(op invoicebox.Operation, value string, n int) answer {
					if broken && op == invoicebox.Activate {
						return answer{status: 200, body: c.body}
					}
					return good(op, value, n)
				})
				b.cfg.Concurrency = 1
				const shops = 40
				var ops []*operation
				for i := range shops {
					ops = append(ops, b.add(journal.Activate, fmt.Sprint("s-", i), fmt.Sprint("code-", i)))
					b.add(journal.Invite, fmt.Sprint("i-", i), fmt.Sprint(i, "@example.com"))
				}
				b.start()
				time.Sleep(6 * time.Hour)
				synctest.Wait()
				calls := len(b.api.asked(invoicebox.Activate))
				// One more may be on its way while the third is made durable.
				if g := b.j.circuit(); calls < c.first+breaker.UnusableToPause || calls > c.first+breaker.UnusableToPause+1 || g.State != journal.CircuitPaused || g.Reason != string(onboarding.ReasonAnswers) {
					t.Fatalf("%d calls, circuit breaker %+v", calls, g)
				}
				if !strings.Contains(b.log.String(), "reason=answers") {
					t.Error("the log does not say so")
				}
				b.engine.TokenChanged("default")
				time.Sleep(time.Hour)
				if g := b.j.circuit(); len(b.api.asked(invoicebox.Activate)) > calls+1 || g.State != journal.CircuitPaused {
					t.Errorf("%d calls after one trial, circuit breaker %+v", len(b.api.asked(invoicebox.Activate)), g)
				}
				broken = false
				i := b.j.ask(b.keys, journal.Intent{Act: string(onboarding.ActionResume)}, "")
				b.ended(i, onboarding.ResultResumed)
				b.until(time.Minute, "settled", b.j.settled)
				b.finish()
				if g := b.j.circuit(); g.State != journal.CircuitActive {
					t.Errorf("circuit breaker %+v", g)
				}
				done := 0
				for _, op := range ops {
					if b.j.record(op).State == journal.Done {
						done++
					}
				}
				if done < shops-breaker.UnusableToPause-3 {
					t.Errorf("%d of %d are done", done, shops)
				}
			})
		})
	}
}

// A kept answer is read by the parser of today, and then goes on as one that
// was entered.
func TestUnusableResponses_Reread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		odd := answer{status: 200, body: `{"data":{"merchant":"m","key":"t"}}`}
		b := newHarness(t, answers(map[string][]answer{"code-1": {odd}, "code-2": {odd}, "code-3": {odd}, "code-4": {{status: 200, body: body("code-9", "t-4")}}}))
		b.cfg.Concurrency = 1
		ops := []*operation{b.add(journal.Activate, "shop-9", "code-9")}
		b.start()
		// The others come when its merchant id is known.
		b.until(time.Minute, "active", func() bool { s, _ := b.j.state(ops[0]); return s == journal.Done })
		ops = append(ops, b.add(journal.Activate, "shop-4", "code-4"))
		for i := 1; i <= 3; i++ {
			ops = append(ops, b.add(journal.Activate, fmt.Sprint("shop-", i), fmt.Sprint("code-", i)))
		}
		for _, op := range ops[1:4] {
			b.attention(op)
		}
		b.until(time.Minute, "paused", func() bool { return b.j.circuit().Reason == string(onboarding.ReasonAnswers) })
		b.act(ops[1], onboarding.ActionReread, onboarding.ResultMerchantConflict)
		op := ops[2]
		b.act(op, onboarding.ActionReread, onboarding.ResultStillUnreadable)
		if g := b.j.circuit(); g.State != journal.CircuitPaused {
			t.Errorf("circuit breaker %+v", g)
		}

		// What an upgrade is able to read.
		x := invoicebox.Exchange{Operation: invoicebox.Activate, Status: 200, Body: []byte(body("code-1", "kept-token")), BodyComplete: true, Written: 1, Finished: time.Now()}
		text, err := x.MarshalReceipt()
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := b.keys.Seal(text, responseAssociatedData(op.Shop, op.UUID, b.j.receipts(op)[0].SealedFor))
		if err != nil {
			t.Fatal(err)
		}
		b.j.exec("UPDATE attempt SET answer = ? WHERE answer IS NOT NULL AND operation = ?", sealed, op.id)
		b.act(op, onboarding.ActionReread, onboarding.ResultActivated)
		b.expect(op, journal.Done, onboarding.ReasonActivated, "activation_failed answer_unreadable contact_support false", eventActive)
		// The account is open then, and other codes go on.
		sent := 0
		for _, c := range b.api.asked(invoicebox.Activate) {
			if c.value == "code-1" {
				sent++
			}
		}
		if sent != 1 {
			t.Errorf("the code was sent %d times", sent)
		}
		b.until(time.Minute, "open", func() bool { return b.j.circuit().State == journal.CircuitActive })
		if notes := strings.Join(b.j.notes(), "\n"); !strings.Contains(notes, "anna reread.performed activated") || !strings.Contains(notes, "anna reread.refused still_unreadable") {
			t.Errorf("the audit is %s", notes)
		}
		b.finish()
		if strings.Contains(b.log.String(), "kept-token") {
			t.Error("the token is in the log")
		}
	})
}
