package engine

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
)

// A sealedPlace is a place of a sealed value.
type sealedPlace struct {
	name   string
	op     *operation
	column string            // of the table that has it
	row    string            // of that table
	intent *journal.Intent   // of one that is in an intent
	reason onboarding.Reason // that a wrong value leads to
}

// A swapBench has two rows or more of every sealed column that the engine opens:
// of one shop and of several, of one operation and of several.
type swapBench struct {
	*harness
	places []sealedPlace
	entry  []*journal.Intent
}

func newSwapBench(t *testing.T) *swapBench {
	b := &swapBench{harness: newHarness(t, good)}
	subject := func(kind journal.Kind, shop, value string) {
		op := b.add(kind, shop, value)
		b.places = append(b.places, sealedPlace{name: "subject of " + value, op: op, column: "subject", row: fmt.Sprint("event WHERE id = ", op.id), reason: onboarding.ReasonSubjectUnreadable})
	}
	subject(journal.Invite, "shop-1", "a@example.com")
	subject(journal.Invite, "shop-1", "b@example.com")
	subject(journal.Invite, "shop-2", "c@example.com")
	subject(journal.Activate, "shop-3", "code-3")
	subject(journal.Activate, "shop-4", "code-4")
	for i, shop := range []string{"shop-5", "shop-5", "shop-6"} {
		op := b.add(journal.Activate, shop, fmt.Sprint("received-", i))
		b.received(op, keyset.AttemptSource(int64(i)), fmt.Sprintf(`{"data":{"merchantId":"m-%s","token":"kept-%d"}}`, shop, i))
		b.places = append(b.places, sealedPlace{name: fmt.Sprint("answer ", i, " of ", shop), op: op, column: "answer", row: fmt.Sprint("attempt WHERE answer IS NOT NULL AND operation = ", op.id), reason: onboarding.ReasonAnswerNotAuthentic})
	}
	for i, shop := range []string{"shop-7", "shop-8"} {
		op := b.add(journal.Activate, shop, fmt.Sprint("stored-", i))
		prepared, err := b.cfg.Credentials.Prepare(t.Context(), credentials.Secret{Shop: op.Shop, Version: 1, MerchantID: "m-same", Token: secret.New(fmt.Sprint("stored-token-", i))})
		if err != nil {
			t.Fatal(err)
		}
		c := prepared.Row
		c.MerchantID = "m-" + shop // the journal takes no other shop's
		b.j.put(op, journal.Stored, func(t *journal.Transition) { t.Credential = &c })
		b.j.exec("UPDATE credential SET merchant_id = ? WHERE operation = ?", prepared.Row.MerchantID, op.id)
		b.places = append(b.places, sealedPlace{name: "credentials of " + shop, op: op, column: "secret", row: fmt.Sprint("credential WHERE operation = ", op.id), reason: onboarding.ReasonAnswerNotAuthentic})
	}
	for i, shop := range []string{"shop-9", "shop-10"} {
		op := b.add(journal.Activate, shop, fmt.Sprint("entered-", i))
		b.j.put(op, journal.Attention, func(t *journal.Transition) { t.Reason, t.Doubt = string(onboarding.ReasonOutcomeLost), true })
		entered := b.j.ask(b.keys, journal.Intent{Act: string(onboarding.ActionSetCredentials), Operation: op.UUID, MerchantID: "m-entered-" + shop}, fmt.Sprint("entered-token-", i))
		b.entry = append(b.entry, entered)
		b.places = append(b.places, sealedPlace{name: "token entered for " + shop, op: op, column: "token", row: fmt.Sprintf("intent WHERE uuid = x'%x'", entered.UUID[:]), intent: entered, reason: onboarding.ReasonOutcomeLost})
	}
	return b
}

// value reads what is in a place.
func (b *swapBench) value(p sealedPlace) (value []byte) {
	b.t.Helper()
	b.j.ok(b.j.beside().QueryRow("SELECT " + p.column + " FROM " + p.row).Scan(&value))
	return value
}

// set changes columns of the row of a place.
func (b *swapBench) set(p sealedPlace, columns string, values ...any) {
	b.t.Helper()
	table, where, _ := strings.Cut(p.row, " ")
	b.j.edit("UPDATE "+table+" SET "+columns+" "+where, values...)
}

// refused runs the engine and wants that only these places were refused, and that no
// foreign value was used.
func (b *swapBench) refused(at ...int) {
	b.t.Helper()
	b.start()
	b.until(time.Minute, "settled", func() bool {
		for _, i := range b.entry {
			if b.j.intent(i).State == journal.IntentWaiting {
				return false
			}
		}
		return b.j.settled()
	})
	b.finish()
	for k, p := range b.places {
		refused := slices.Contains(at, k)
		want := journal.Done
		if refused {
			want = journal.Attention
		}
		if s, r := b.j.state(p.op); s != want || refused && r != p.reason {
			b.t.Errorf("%s: %v (%s), want %v", p.name, s, r, want)
		}
		if !refused {
			continue
		}
		if p.intent != nil {
			b.ended(p.intent, onboarding.ResultNotAuthentic)
		}
		for _, e := range b.j.eventsOf(p.op) {
			if strings.HasSuffix(e.Type, "activated") || strings.HasSuffix(e.Type, "invited") {
				b.t.Errorf("%s: %s was published", p.name, e.Type)
			}
		}
	}
	if log := b.log.String(); strings.Count(log, "level=ERROR") != len(at) || strings.Count(log, "table=") < len(at) {
		b.t.Errorf("not one error with its table in the log for each of %v:\n%s", at, log)
	}
	seen := map[string]int{}
	for _, c := range b.api.calls {
		if c.op != invoicebox.Check { // of two answers of one shop, one is checked again
			seen[fmt.Sprint(c.op, c.value)]++
		}
	}
	for call, n := range seen {
		if n > 1 {
			b.t.Errorf("%s was asked %d times", call, n)
		}
	}
}

// Every sealed value in the place of every other one is refused: its operation
// comes to a person, and nothing is sent or published for it. With each run all values
// move on by one place more. That no other operation waits for one is TestSwap_Beside.
func TestSwap(t *testing.T) {
	if testing.Short() {
		t.Skip("long in virtual time: the race detector has nothing to find, and takes minutes")
	}
	count := 0
	synctest.Test(t, func(t *testing.T) {
		b := newSwapBench(t)
		count = len(b.places)
		b.refused()
	})
	for by := 1; by < count; by++ {
		t.Run(fmt.Sprint("by ", by), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newSwapBench(t)
				var values [][]byte
				var all []int
				for _, p := range b.places {
					values = append(values, b.value(p))
				}
				for i, p := range b.places {
					b.set(p, p.column+" = ?", values[(i+by)%count])
					all = append(all, i)
				}
				b.refused(all...)
			})
		})
	}
}

// What stands in the clear beside a sealed value, and names where that belongs, is
// part of it.
func TestSwap_Beside(t *testing.T) {
	const (
		subjectA, subjectB, _, codeOf3, codeOf4 = 0, 1, 2, 3, 4
		answer0, answer1, answer2               = 5, 6, 7
		stored7, stored8                        = 8, 9
		entered9, entered10                     = 10, 11
	)
	for name, c := range map[string]struct {
		at   int
		edit func(b *swapBench)
	}{
		"an address with its look-up MAC": {subjectB, func(b *swapBench) {
			b.set(b.places[subjectB], "key_scope = NULL, (subject, mac) = (SELECT subject, mac FROM event WHERE id = ?)", b.places[subjectA].op.id)
		}},
		"a look-up MAC": {subjectB, func(b *swapBench) {
			b.set(b.places[subjectB], "key_scope = NULL, mac = (SELECT mac FROM event WHERE id = ?)", b.places[subjectA].op.id)
		}},
		"a generation": {subjectB, func(b *swapBench) { b.set(b.places[subjectB], "generation = generation + 1") }},
		"an operation's id": {codeOf4, func(b *swapBench) {
			op := b.places[codeOf4].op
			op.UUID = [16]byte{1}
			b.set(b.places[codeOf4], "uuid = ?", op.UUID[:])
		}},
		"a code with its MAC": {codeOf4, func(b *swapBench) {
			b.set(b.places[codeOf4], "key_scope = NULL, (subject, mac) = (SELECT subject, mac FROM event WHERE id = ?)", b.places[codeOf3].op.id)
		}},
		"an answer with its request": {answer2, func(b *swapBench) {
			b.set(b.places[answer2], "(answer, sealed_for) = (SELECT answer, sealed_for FROM receipt WHERE operation = ?)", b.places[answer0].op.id)
		}},
		"an answer with its row": {answer2, func(b *swapBench) {
			b.j.edit("UPDATE attempt SET answer = NULL WHERE operation = ?", b.places[answer2].op.id)
			b.j.edit("UPDATE operation SET receipt = (SELECT receipt FROM operation WHERE id = ?) WHERE id = ?", b.places[answer0].op.id, b.places[answer2].op.id)
		}},
		"the request of an answer": {answer1, func(b *swapBench) {
			b.set(b.places[answer1], "sealed_for = (SELECT sealed_for FROM receipt WHERE operation = ?)", b.places[answer0].op.id)
		}},
		"an answer without a value": {answer1, func(b *swapBench) { b.set(b.places[answer1], "answer = x''") }},
		"a merchant id":             {stored7, func(b *swapBench) { b.set(b.places[stored7], "merchant_id = 'm-other'") }},
		"a reference": {stored7, func(b *swapBench) {
			b.set(b.places[stored7], "reference = (SELECT reference FROM credential WHERE operation = ?)", b.places[stored8].op.id)
		}},
		"a version": {stored7, func(b *swapBench) {
			b.set(b.places[stored7], "version = 2")
			b.j.edit("UPDATE operation SET version = 2 WHERE id = ?", b.places[stored7].op.id)
		}},
		"an entered merchant id": {entered9, func(b *swapBench) { b.set(b.places[entered9], "merchant_id = 'm-other'") }},
		"who entered it":         {entered9, func(b *swapBench) { b.set(b.places[entered9], "actor = 'bertha'") }},
		"why it was entered":     {entered9, func(b *swapBench) { b.set(b.places[entered9], "note = 'another'") }},
		"the id of an act": {entered9, func(b *swapBench) {
			id := [16]byte{1}
			b.set(b.places[entered9], "uuid = ?", id[:])
			b.entry[0].UUID = id
		}},
		"an act":               {entered9, func(b *swapBench) { b.set(b.places[entered9], "act = ?", string(onboarding.ActionClose)) }},
		"the MAC of an act":    {entered9, func(b *swapBench) { b.set(b.places[entered9], "mac = ?", b.entry[1].MAC) }},
		"an act without a MAC": {entered10, func(b *swapBench) { b.set(b.places[entered10], "mac = NULL") }},
		"an act without an operation": {entered10, func(b *swapBench) {
			b.set(b.places[entered10], "operation = NULL, act = ?", string(onboarding.ActionPause))
		}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newSwapBench(t)
				c.edit(b)
				b.refused(c.at)
			})
		})
	}
}

// A value that names a key which no worker has waits for a replica with that key,
// and does not hold its shop for ever.
func TestSwap_UnknownKey(t *testing.T) {
	for at := range 8 { // addresses, codes and answers
		synctest.Test(t, func(t *testing.T) {
			b := newSwapBench(t)
			p := b.places[at]
			value := b.value(p)
			value[1]++
			b.set(p, p.column+" = ?", value)
			b.start()
			b.until(keyWait/2, "it waits for the key", func() bool { _, r := b.j.state(p.op); return r == onboarding.ReasonKeyMissing })
			b.until(2*keyWait, "settled", b.j.settled)
			b.finish()
			for k, other := range b.places {
				want := journal.Done
				if k == at {
					want = journal.Attention
				}
				if s, r := b.j.state(other.op); s != want || k == at && r != p.reason {
					t.Errorf("%s: %v (%s), want %v", other.name, s, r, want)
				}
			}
		})
	}
}

// An act that was inserted in the database is refused, whatever it asks for.
func TestSwap_ForgedActs(t *testing.T) {
	for _, act := range []onboarding.Action{onboarding.ActionProbe, onboarding.ActionRetry, onboarding.ActionReread, onboarding.ActionSetCredentials, onboarding.ActionClose, onboarding.ActionPause, onboarding.ActionResume, "other"} {
		t.Run(string(act), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newHarness(t, good)
				op := b.add(journal.Activate, "shop-1", "code-1")
				b.j.put(op, journal.Attention, func(t *journal.Transition) { t.Reason, t.Doubt = string(onboarding.ReasonOutcomeUnknown), true })
				i := journal.Intent{Act: string(act), Operation: op.UUID}
				if act == onboarding.ActionPause || act == onboarding.ActionResume {
					i.Operation = [16]byte{}
				}
				other, err := keyset.New()
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range []struct {
					mac  func(i *journal.Intent) []byte
					want onboarding.Result
				}{
					{func(*journal.Intent) []byte { return nil }, onboarding.ResultNotAuthentic},
					{func(i *journal.Intent) []byte { return bytes.Repeat(i.MAC[:1], len(i.MAC)) }, onboarding.ResultUnreadable},
					{func(i *journal.Intent) []byte {
						mac, _ := other.Authenticate(keyset.DomainIntent, i.Authentic()...)
						return mac
					}, onboarding.ResultUnreadable},
					{func(i *journal.Intent) []byte {
						mac, _ := b.keys.Bind("another journal").Authenticate(keyset.DomainIntent, i.Authentic()...)
						return mac
					}, onboarding.ResultNotAuthentic},
				} {
					made := b.j.made(b.keys, i, "")
					made.MAC = c.mac(&made)
					forged := b.j.append(made)
					b.start()
					b.ended(forged, c.want)
					b.finish()
				}
				if s, _ := b.j.state(op); s != journal.Attention || len(b.api.calls) != 0 || b.j.circuit().State != journal.CircuitActive {
					t.Errorf("%v, %d calls, circuit breaker %v", s, len(b.api.calls), b.j.circuit().State)
				}
			})
		})
	}
}
