package onboarding

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
)

// A sealedPlace is a place of a sealed value, or of what stands beside it in the
// clear.
type sealedPlace struct {
	name   string
	op     *fakeOp
	value  *[]byte
	intent *journal.Intent // of one that is in an intent
	reason Reason          // that a wrong value leads to
}

// A swapBench has two rows or more of every sealed column that the pool opens:
// of one shop and of several, of one operation and of several.
type swapBench struct {
	*bench
	places []sealedPlace
	entry  []*journal.Intent
}

func newSwapBench(t *testing.T) *swapBench {
	b := &swapBench{bench: newBench(t, good)}
	subject := func(kind journal.Kind, shop, value string) {
		op := b.add(kind, shop, value)
		b.places = append(b.places, sealedPlace{name: "subject of " + value, op: op, value: &op.Sealed, reason: ReasonSubjectUnreadable})
	}
	subject(journal.Invite, "shop-1", "a@example.com")
	subject(journal.Invite, "shop-1", "b@example.com")
	subject(journal.Invite, "shop-2", "c@example.com")
	subject(journal.Activate, "shop-3", "code-3")
	subject(journal.Activate, "shop-4", "code-4")
	for i, shop := range []string{"shop-5", "shop-5", "shop-6"} {
		op := b.add(journal.Activate, shop, fmt.Sprint("received-", i))
		x := invoicebox.Exchange{Operation: invoicebox.Activate, Status: 200, BodyComplete: true, Started: time.Now(), Finished: time.Now(),
			Body: fmt.Appendf(nil, `{"data":{"merchantId":"m-%s","token":"kept-%d"}}`, shop, i)}
		text, err := x.MarshalReceipt()
		if err != nil {
			t.Fatal(err)
		}
		r := &journal.StoredReceipt{Operation: op.UUID, SealedFor: keyset.OfAttempt(int64(i))}
		if r.Sealed, err = b.keys.Seal(text, receiptRow(op.Shop, op.UUID, r.SealedFor)); err != nil {
			t.Fatal(err)
		}
		op.State, op.Receipt = journal.Received, r
		b.places = append(b.places, sealedPlace{name: fmt.Sprint("answer ", i, " of ", shop), op: op, value: &r.Sealed, reason: ReasonAnswerNotAuthentic})
	}
	for i, shop := range []string{"shop-7", "shop-8"} {
		op := b.add(journal.Activate, shop, fmt.Sprint("stored-", i))
		prepared, err := b.cfg.Credentials.Prepare(t.Context(), credentials.Secret{Shop: op.Shop, Version: 1, MerchantID: "m-same", Token: secret.New(fmt.Sprint("stored-token-", i))})
		if err != nil {
			t.Fatal(err)
		}
		op.State, op.Credential, op.StoredAt = journal.Stored, &prepared.Row, time.Now()
		b.j.creds[op.Shop] = []journal.Credential{prepared.Row}
		b.places = append(b.places, sealedPlace{name: "credentials of " + shop, op: op, value: &op.Credential.Sealed, reason: ReasonAnswerNotAuthentic})
	}
	for i, shop := range []string{"shop-9", "shop-10"} {
		op := b.add(journal.Activate, shop, fmt.Sprint("entered-", i))
		op.State, op.Reason, op.Doubt = journal.Attention, string(ReasonOutcomeLost), true
		entered := b.j.ask(b.keys, journal.Intent{Act: string(CommandEnter), Operation: op.UUID, MerchantID: "m-entered-" + shop}, fmt.Sprint("entered-token-", i))
		b.entry = append(b.entry, entered)
		b.places = append(b.places, sealedPlace{name: "token entered for " + shop, op: op, value: &entered.Sealed, intent: entered, reason: ReasonOutcomeLost})
	}
	return b
}

// refused runs the pool and wants that only the place was refused, and that no
// foreign value was used.
func (b *swapBench) refused(at int) {
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
		want := journal.Done
		if k == at {
			want = journal.Attention
		}
		if s, r := b.j.state(p.op); s != want || want == journal.Attention && r != p.reason {
			b.t.Errorf("%s: %v (%s), want %v", p.name, s, r, want)
		}
		if k == at && p.intent != nil {
			b.ended(p.intent, ResultNotAuthentic)
		}
	}
	if at < 0 {
		return
	}
	if p := b.places[at]; strings.Count(b.log.String(), "level=ERROR") != 1 || !strings.Contains(b.log.String(), "table=") {
		b.t.Errorf("%s: not one error with its table in the log:\n%s", p.name, b.log.String())
	}
	for _, e := range b.j.eventsOf(b.places[at].op) {
		if strings.HasSuffix(e.Type, "activated") || strings.HasSuffix(e.Type, "invited") {
			b.t.Errorf("%s: %s was published", b.places[at].name, e.Type)
		}
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
// comes to a person, nothing is sent or published for it, and no other operation
// waits for that.
func TestSwap(t *testing.T) {
	count := 0
	synctest.Test(t, func(t *testing.T) {
		b := newSwapBench(t)
		count = len(b.places)
		b.refused(-1)
	})
	for from := range count {
		for to := range count {
			if from == to {
				continue
			}
			synctest.Test(t, func(t *testing.T) {
				b := newSwapBench(t)
				x, y := b.places[from], b.places[to]
				*y.value = bytes.Clone(*x.value)
				b.refused(to)
				if t.Failed() {
					t.Fatalf("%s in the place of %s", x.name, y.name)
				}
			})
		}
	}
}

// What stands in the clear beside a sealed value, and names where that belongs, is
// part of it.
func TestSwapBeside(t *testing.T) {
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
			b.places[subjectB].op.Sealed, b.places[subjectB].op.SubjectMAC = b.places[subjectA].op.Sealed, b.places[subjectA].op.SubjectMAC
		}},
		"a look-up MAC":     {subjectB, func(b *swapBench) { b.places[subjectB].op.SubjectMAC = b.places[subjectA].op.SubjectMAC }},
		"a generation":      {subjectB, func(b *swapBench) { b.places[subjectB].op.Generation++ }},
		"an operation's id": {codeOf4, func(b *swapBench) { b.places[codeOf4].op.UUID = [16]byte{1} }},
		"a code with its MAC": {codeOf4, func(b *swapBench) {
			b.places[codeOf4].op.Sealed, b.places[codeOf4].op.SubjectMAC = b.places[codeOf3].op.Sealed, b.places[codeOf3].op.SubjectMAC
		}},
		"an answer with the operation's id": {answer2, func(b *swapBench) {
			x, y := b.places[answer0].op, b.places[answer2].op
			y.Receipt = &journal.StoredReceipt{Operation: x.UUID, Sealed: x.Receipt.Sealed, SealedFor: x.Receipt.SealedFor}
		}},
		"the request of an answer":  {answer1, func(b *swapBench) { b.places[answer1].op.Receipt.SealedFor = b.places[answer0].op.Receipt.SealedFor }},
		"an answer without a value": {answer1, func(b *swapBench) { b.places[answer1].op.Receipt.Sealed = nil }},
		"a merchant id":             {stored7, func(b *swapBench) { b.places[stored7].op.Credential.MerchantID = "m-other" }},
		"a reference": {stored7, func(b *swapBench) {
			b.places[stored7].op.Credential.Reference = b.places[stored8].op.Credential.Reference
		}},
		"a version":              {stored7, func(b *swapBench) { b.places[stored7].op.Credential.Version = 2 }},
		"an entered merchant id": {entered9, func(b *swapBench) { b.entry[0].MerchantID = "m-other" }},
		"who entered it":         {entered9, func(b *swapBench) { b.entry[0].Actor = "bertha" }},
		"why it was entered":     {entered9, func(b *swapBench) { b.entry[0].Note = "another" }},
		"the id of an act":       {entered9, func(b *swapBench) { b.entry[0].UUID = b.entry[1].UUID }},
		"an act":                 {entered9, func(b *swapBench) { b.entry[0].Act = string(CommandClose) }},
		"the MAC of an act":      {entered9, func(b *swapBench) { b.entry[0].MAC = b.entry[1].MAC }},
		"an act without a MAC":   {entered10, func(b *swapBench) { b.entry[1].MAC = nil }},
		"an act without an operation": {entered10, func(b *swapBench) {
			b.entry[1].Operation, b.entry[1].Act = [16]byte{}, string(CommandPause)
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
func TestSwapUnknownKey(t *testing.T) {
	for at := range 8 { // addresses, codes and answers
		synctest.Test(t, func(t *testing.T) {
			b := newSwapBench(t)
			p := b.places[at]
			*p.value = bytes.Clone(*p.value)
			(*p.value)[1]++
			if p.op.Receipt != nil {
				p.op.Receipt.At = time.Now()
			}
			b.start()
			b.until(keyWait/2, "it waits for the key", func() bool { _, r := b.j.state(p.op); return r == ReasonKeyMissing })
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
func TestForgedActs(t *testing.T) {
	for _, act := range []Command{CommandProbe, CommandRetry, CommandReread, CommandEnter, CommandClose, CommandPause, CommandResume, "other"} {
		t.Run(string(act), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, good)
				op := b.add(journal.Activate, "shop-1", "code-1")
				op.State, op.Reason, op.Doubt = journal.Attention, string(ReasonOutcomeUnknown), true
				i := journal.Intent{Act: string(act), Operation: op.UUID}
				if act == CommandPause || act == CommandResume {
					i.Operation = [16]byte{}
				}
				other, err := keyset.New()
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range []struct {
					mac  func(i *journal.Intent) []byte
					want Result
				}{
					{func(*journal.Intent) []byte { return nil }, ResultNotAuthentic},
					{func(i *journal.Intent) []byte { return bytes.Repeat(i.MAC[:1], len(i.MAC)) }, ResultUnreadable},
					{func(i *journal.Intent) []byte {
						mac, _ := other.Authenticate(keyset.DomainIntent, i.Authentic()...)
						return mac
					}, ResultUnreadable},
					{func(i *journal.Intent) []byte {
						mac, _ := b.keys.Bind("another journal").Authenticate(keyset.DomainIntent, i.Authentic()...)
						return mac
					}, ResultNotAuthentic},
				} {
					forged := b.j.ask(b.keys, i, "")
					forged.MAC = c.mac(forged)
					b.start()
					b.ended(forged, c.want)
					b.finish()
				}
				if s, _ := b.j.state(op); s != journal.Attention || len(b.api.calls) != 0 || b.j.gate().State != journal.GateOpen {
					t.Errorf("%v, %d calls, gate %v", s, len(b.api.calls), b.j.gate().State)
				}
			})
		})
	}
}
