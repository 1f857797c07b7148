package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// twoAccounts are options of a sandbox, and second the file that configures both.
func twoAccounts() sandbox.Options {
	return sandbox.Options{Profile: sandbox.Calm, Accounts: []sandbox.Account{
		{PartnerID: sandbox.DefaultPartnerID, Token: sandbox.DefaultToken}, {PartnerID: "partner-2", Token: "token-of-the-second-account"},
	}}
}

func (r *rig) configureBoth() {
	r.t.Helper()
	text := "accounts:\n"
	for i, name := range []string{"default", "second"} {
		a := r.sandbox.Accounts()[i]
		text += fmt.Sprintf("  - {name: %s, partner-id: %q, token-file: %q}\n", name, a.PartnerID, r.write("token-"+name, a.Token+"\n"))
	}
	r.config = r.write("accounts.yaml", text)
}

func (r *rig) replay(args ...string) (v replayJSON) {
	r.t.Helper()
	out := r.must(append(append([]string{"dead-letters", "replay", "--output", "json", "--rate", "100/s"}, args...), r.beside()...)...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
	return v
}

// replayed waits until no dead letter waits for the worker.
func (r *rig) replayed() {
	r.t.Helper()
	await(r.t, "no dead letter waits for its replay", func() bool {
		return !slices.ContainsFunc(r.letters(), func(l deadLetterJSON) bool { return l.ReplayDue != nil })
	})
}

// Events of an account that was not configured are taken again once it is: each shop is
// invited once, although one event was sent again, and all are replayed twice.
func TestDeadLettersAreReplayed(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), twoAccounts())
	const shops = 6
	w := r.start()
	for i := range shops {
		r.forAccount(fmt.Sprint("s", i), "second")
	}
	r.send(schemas.TypeCodeEntered, "bad", "s9", `{"shopId":"s9","activationCode":["code"]}`)
	r.results(schemas.TypeDeadLetter, shops+1)
	w.end()
	if v := r.replay("--reason", "unknown_account"); v.Asked != shops || v.Chosen != shops {
		t.Errorf("asked for %+v", v)
	}
	if v := r.replay("--dry-run", "1", "2", "1"); v.Chosen != 2 {
		t.Errorf("an id that is given twice counts twice: %+v", v)
	}
	w = r.start() // it is not configured yet
	r.replayed()
	for _, l := range r.letters("--reason", "unknown_account", "--open") {
		if l.Replays != 1 || !l.Kept {
			t.Errorf("dead letter %+v", l)
		}
	}
	w.end()

	r.configureBoth()
	w = r.start()
	defer w.end()
	r.forAccount("s0", "second") // the consumer takes it meanwhile
	if v := r.replay("--reason", "unknown_account", "--dry-run"); v.Asked != shops || len(v.Letters) != shops {
		t.Errorf("would ask for %+v", v)
	}
	if v := r.replay("--reason", "unknown_account", "--note", "the account is configured"); v.Asked != shops {
		t.Errorf("asked for %+v", v)
	}
	r.replayed()
	if v := r.replay("--reason", "unknown_account"); v.Asked != 0 || v.Done != shops {
		t.Errorf("asked again for %+v", v)
	}
	invited := map[string]int{}
	for _, e := range r.results(schemas.TypeInvited, shops) {
		invited[e.Data.(schemas.Invited).ShopID]++
	}
	if len(invited) != shops {
		t.Errorf("invited: %v", invited)
	}
	for shop, n := range invited {
		if n != 1 {
			t.Errorf("shop %s was invited %d times", shop, n)
		}
	}
	if n := len(r.letters("--open")); n != 1 {
		t.Errorf("%d dead letters are open", n)
	}

	bad := r.letters("--open")[0]
	for n := range journal.MaxReplays {
		if v := r.replay(fmt.Sprint(bad.ID)); v.Asked != 1 {
			t.Errorf("replay %d: %+v", n, v)
		}
		r.replayed()
	}
	if l := r.letters("--open")[0]; l.Replays != journal.MaxReplays || l.Reason != bad.Reason {
		t.Errorf("after all replays: %+v", l)
	}
	if v := r.replay(fmt.Sprint(bad.ID)); v.Asked != 0 || v.Exhausted != 1 {
		t.Errorf("asked once more for %+v", v)
	}
	r.results(schemas.TypeDeadLetter, shops+1)
	out := r.must(append([]string{"audit", "list", "--limit", "100"}, r.beside()...)...)
	for _, words := range []string{"dead-letters.replay.asked", "6 dead letters from", "the account is configured", "dead-letters.replayed", "failed"} {
		if !strings.Contains(out, words) {
			t.Errorf("the audit trail lacks %q", words)
		}
	}
	r.must(append([]string{"audit", "verify"}, r.beside()...)...)
}

func TestReplaysThatAreNotAskedFor(t *testing.T) {
	r := newRig(t, kafkatest.Embedded(t), calm())
	r.start().end()
	for _, args := range []string{"", "1 --all", "--all --shop s", "0", "--all --rate 0/s", "--all --rate 10", "--all --rate 201/s", "--all --reason nonsense"} {
		if code, _, errs := r.command(append(append([]string{"dead-letters", "replay"}, strings.Fields(args)...), r.beside()...)...); code != exitUsage {
			t.Errorf("%s: exit status %d, %s", args, code, errs)
		}
	}
	if code, _, errs := r.command(append([]string{"dead-letters", "replay", "7"}, r.beside()...)...); code != exitFailed || !strings.Contains(errs, "there is no dead letter 7") {
		t.Errorf("exit status %d, %s", code, errs)
	}
}
