package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// The drill: back up, go on, lose the file, restore the copy, recover. And the
// same with a recovery that is killed: when it has taken published events over
// and, where the kill comes in time, when it has read inputs again and when it has
// begun with what is in doubt. That each step can be made again is shown one by
// one by the journal's conformance suite.
func TestRestoredFromACopy(t *testing.T) {
	for name, kills := range map[string][]string{
		"recovered": nil,
		"killed while recovering": {
			"SELECT count(*) FROM announced",
			"SELECT count(*) FROM event, meta WHERE meta.name = 'recovering' AND received > CAST(CAST(value AS TEXT) AS INTEGER)",
			"SELECT count(*) FROM operation, meta WHERE meta.name = 'recovering' AND restored > 0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			restored(t, kills)
		})
	}
}

// commandFlags are what `run`, `journal recover` and `check` share.
func (r *rig) commandFlags() []string {
	args := append(r.settings(),
		"--kafka-brokers", strings.Join(r.cluster.Brokers(), ","), "--kafka-group", r.group, "--invoicebox-url", r.api.URL,
		"--partner-id", sandbox.DefaultPartnerID, "--token-file", r.path("token"), "--log-format", "json")
	for name, topic := range r.topics {
		args = append(args, "--topic", name+"="+topic)
	}
	return append(args, r.extra...)
}

// backup is what `journal backup --output json` prints that these tests read.
type backup struct {
	Bytes      int64 `json:"bytes"`
	Positions  []struct{ Next int64 }
	Operations []struct {
		Kind, State string
		Count       int
	} `json:"operations"`
}

// recovery is the same of `journal recover`.
type recovery struct {
	Recovery   int    `json:"recovery"`
	Resumed    bool   `json:"resumed"`
	Identity   string `json:"identity"`
	Taken      int    `json:"imported"`
	Operations []struct {
		Outcome    string `json:"outcome"`
		Operations int    `json:"operations"`
	} `json:"operations"`
	Orphans []any `json:"shopsWithoutOperation"`
}

// restored is the drill; kills are what a recovery's journal is asked: when it
// is above zero, the recovery is killed.
func restored(t *testing.T, kills []string) {
	t.Helper()
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) {
		t.Parallel()
		const limit, window = 60, 2 * time.Second
		r := newRig(t, c, sandbox.Options{Profile: sandbox.Calm, Latency: 80 * time.Millisecond, RequestsPerWindow: limit, Window: window, EgressPerWindow: -1},
			"--concurrency", "16", "--requests-per-window", fmt.Sprint(limit), "--window", window.String(), "--egress-requests-per-window", "1000000",
			"--request-deadline", "1s", "--lease", "2s", "--slack", "1s", "--quiet-period", "2s")
		before, between, down := shopNames("before", 40), shopNames("between", 30), shopNames("down", 10)
		r.selected(before...)
		r.entered(before...)
		w := r.start()
		r.awaitResults(schemas.TypeActivated, 10, time.Minute)

		var b backup
		r.unmarshal(&b, append([]string{"journal", "backup", r.path("copy.db"), "--output", "json"}, r.settings()[:2]...)...)
		if b.Bytes == 0 || len(b.Positions) == 0 {
			t.Errorf("the copy holds nothing: %+v", b)
		}
		t.Logf("the copy: %+v", b)
		r.refused("exists already", append([]string{"journal", "backup", r.path("copy.db")}, r.settings()[:2]...)...)

		r.selected(between...)
		r.entered(between...)
		// More than can have been in flight when the copy was made.
		r.awaitResults(schemas.TypeActivated, r.count(schemas.TypeActivated)+20, time.Minute)
		w.kill()
		spent := r.activatedShops()
		highest := r.highestSequences()

		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(r.path("journal.db" + suffix)); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
		if err := os.Rename(r.path("copy.db"), r.path("journal.db")); err != nil {
			t.Fatal(err)
		}
		r.refused("journal recover", append([]string{"run", "--listen", "127.0.0.1:0", "--start", "earliest"}, r.commandFlags()...)...)
		r.selected(down...)
		r.entered(down...)

		recovering := append([]string{"journal", "recover", "--output", "json"}, r.commandFlags()...)
		var done recovery
		killed := 0
		for _, sign := range kills {
			out, ended := r.killedAt(sign, recovering)
			if ended {
				r.parse(&done, out)
				break
			}
			killed++
		}
		began := time.Now()
		if done.Identity == "" {
			r.unmarshal(&done, recovering...)
		}
		t.Logf("the recovery was killed %d times", killed)
		t.Logf("recovered: %+v", done)
		if len(done.Orphans) != 0 || done.Identity == "" || done.Resumed != (killed > 0) || len(kills) > 0 && killed == 0 || done.Recovery != 1 || len(kills) == 0 && done.Taken == 0 {
			t.Errorf("the recovery reports %+v", done)
		}
		all := append(append(before, between...), down...)
		w = r.start()
		await(t, 3*time.Minute, "nothing is left to do", func() bool { return r.idle(w, 2*len(all)) })
		if code, _ := w.terminate(40 * time.Second); code != 0 {
			t.Errorf("exit status %d after SIGTERM", code)
		}

		r.judgeSpent(all, spent, began)
		r.judgeEnds(all, spent)
		r.judgeRepeats()
		for shop, last := range r.firstSequencesAfter(highest) {
			t.Errorf("shop %s: sequence %d is not above what was published before the loss", shop, last)
		}
		for _, load := range r.sandbox.Windows().Accounts {
			if load.Exceeded != 0 || load.Limited != 0 {
				t.Errorf("the limit of %d was broken: %+v", limit, load)
			}
		}
	})
}

func (r *rig) unmarshal(v any, args ...string) {
	r.t.Helper()
	cmd := exec.Command(binary, args...) // #nosec G204 -- the program under test
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", strings.Join(args[:2], " "), err, errs.String())
	}
	r.parse(v, out)
}

func (r *rig) parse(v any, out []byte) {
	r.t.Helper()
	if err := json.Unmarshal(out, v, json.MatchCaseInsensitiveNames(true)); err != nil {
		r.t.Fatalf("%v\n%.2000s", err, out)
	}
}

// refused runs a command that must fail with a word in what it says.
func (r *rig) refused(word string, args ...string) {
	r.t.Helper()
	out, err := exec.Command(binary, args...).CombinedOutput() // #nosec G204 -- the program under test
	if err == nil || !strings.Contains(string(out), word) {
		r.t.Errorf("%s: %v, and says nothing of %q:\n%s", strings.Join(args[:2], " "), err, word, out)
	}
}

// activatedShops are those whose activation was published.
func (r *rig) activatedShops() map[string]bool {
	r.t.Helper()
	shops := map[string]bool{}
	for _, e := range r.results(schemas.TypeActivated) {
		shops[e.Subject] = true
	}
	return shops
}

// A mark is the highest sequence of each shop, and where each topic ended.
type mark struct {
	sequence map[string]int64
	seen     map[string]bool // ids
}

func (r *rig) highestSequences() mark {
	r.t.Helper()
	m := mark{map[string]int64{}, map[string]bool{}}
	for _, typ := range schemas.OutputTypes() {
		for _, e := range r.results(typ) {
			m.sequence[e.Subject] = max(m.sequence[e.Subject], e.Sequence)
			m.seen[e.ID] = true
		}
	}
	return m
}

// firstSequencesAfter are those of new events that are not above the mark.
func (r *rig) firstSequencesAfter(m mark) map[string]int64 {
	r.t.Helper()
	wrong := map[string]int64{}
	for _, typ := range schemas.OutputTypes() {
		for _, e := range r.results(typ) {
			if typ != schemas.TypeDeadLetter && !m.seen[e.ID] && e.Sequence <= m.sequence[e.Subject] {
				wrong[e.Subject] = e.Sequence
			}
		}
	}
	return wrong
}

// judgeSpent: what was announced is not sent again, and what is sent after the
// recovery although it may have been sent before is flagged, once.
func (r *rig) judgeSpent(shops []string, spent map[string]bool, recovered time.Time) {
	r.t.Helper()
	j := r.openJournal()
	defer func() { _ = j.Close() }()
	sent := map[string][2]int{} // before and after the recovery
	for _, q := range r.sandbox.Requests() {
		if q.Operation != "activate" && q.Operation != "invite" {
			continue
		}
		n := sent[q.Subject]
		if q.Time.Before(recovered) {
			n[0]++
		} else {
			n[1]++
		}
		sent[q.Subject] = n
	}
	flaggedAgain := 0
	for _, shop := range shops {
		h, err := j.Shop(r.t.Context(), journal.ShopKey{Account: "default", Shop: shop})
		if err != nil {
			r.t.Errorf("shop %s is not known after the recovery: %v", shop, err)
			continue
		}
		for kind, subject := range map[journal.Kind]string{journal.Activate: codeOf(shop), journal.Invite: addressOf(shop)} {
			n := sent[subject]
			if kind == journal.Activate && spent[shop] && (n[0] != 1 || n[1] != 0) {
				r.t.Errorf("shop %s was announced as active, and its code was sent %d times before and %d times after the recovery", shop, n[0], n[1])
			}
			if n[0] > 1 || n[1] > 1 {
				r.t.Errorf("%s was sent %d times before and %d times after the recovery", subject, n[0], n[1])
			}
			for _, o := range h.Operations {
				for _, a := range o.Tries {
					if o.Kind == kind && !a.Started.Before(recovered) && !a.Flagged && n[0] > 0 {
						r.t.Errorf("%s was sent before, and again without a flag", subject)
					}
				}
			}
			if n[0] > 0 && n[1] > 0 {
				flaggedAgain++
			}
		}
	}
	for _, a := range r.sandbox.Effects().Activations {
		if a.Effects > 1 {
			r.t.Errorf("code %s had %d effects", a.Code, a.Effects)
		}
	}
	r.t.Logf("%d codes and addresses were sent again, flagged", flaggedAgain)
}

// judgeEnds: the last word on every shop is an activation whose reference
// resolves to the token that was issued, or a failure with a person to look at
// it; only those whose secret was lost with the file may have both.
func (r *rig) judgeEnds(shops []string, spent map[string]bool) {
	r.t.Helper()
	j := r.openJournal()
	defer func() { _ = j.Close() }()
	keys, err := keyset.File{Path: r.path("keyset.json")}.Load(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	attention := map[string]string{}
	for _, o := range r.operations("--attention", "--limit", "1000") {
		attention[o.Shop+"/"+o.Kind] = o.Reason
	}
	last := map[string]schemas.Event{}
	for _, typ := range []string{schemas.TypeActivated, schemas.TypeActivationFailed} {
		for _, e := range r.results(typ) {
			if e.Sequence >= last[e.Subject].Sequence {
				last[e.Subject] = e
			}
		}
	}
	invited := map[string]bool{}
	for _, e := range r.results(schemas.TypeInvited) {
		invited[e.Subject] = true
	}
	ends := map[string]int{}
	for _, shop := range shops {
		if !invited[shop] && attention[shop+"/invite"] == "" {
			r.t.Errorf("shop %s was neither invited nor is anybody told", shop)
		}
		switch d := last[shop].Data.(type) {
		case schemas.Activated:
			ends["active"]++
			ref, err := schemas.ParseReference(d.Credentials.Ref)
			if err != nil {
				r.t.Fatal(err)
			}
			row, err := j.Credential(r.t.Context(), journal.ShopKey{Account: ref.Account, Shop: ref.Shop}, ref.Version)
			if err != nil {
				r.t.Errorf("shop %s: %s does not resolve, and nobody is told: %v", shop, ref, err)
				continue
			}
			if got, err := credentials.NewSealed(keys.Bind(j.Origin().String())).Open(row); err != nil || got.Token.Reveal() != r.sandbox.TokenOf(codeOf(shop)) {
				r.t.Errorf("shop %s: %s resolves to another token than the sandbox issued (%v)", shop, ref, err)
			}
		case schemas.ActivationFailed:
			ends[string(d.Reason)]++
			switch {
			case attention[shop+"/activate"] != string(d.Reason):
				r.t.Errorf("shop %s failed as %s and waits for a person as %q", shop, d.Reason, attention[shop+"/activate"])
			case d.Reason == schemas.FailureCredentialsLost && (!spent[shop] || d.Action != schemas.ActionRequestNewCode || d.Final):
				r.t.Errorf("shop %s: %+v although it was announced: %v", shop, d, spent[shop])
			case d.Reason != schemas.FailureCredentialsLost && d.Reason != schemas.FailureOutcomeLost && d.Reason != schemas.FailureOutcomeUnknown:
				r.t.Errorf("shop %s failed as %s", shop, d.Reason)
			}
		default:
			r.t.Errorf("shop %s: no word on its activation", shop)
		}
	}
	r.t.Logf("how the shops ended: %v", ends)
	if ends["active"] == 0 || ends[string(schemas.FailureCredentialsLost)] == 0 {
		r.t.Errorf("the drill tests nothing: %v", ends)
	}
}
